package main

import (
	"os"
	"path/filepath"
)

func defaultState() (string, error) {
	if os.Getenv("ProgramData") == "" {
		return "", errNoHome
	}
	return serverState(), nil
}

// serverState lies beside the folder of the machine's own service, which goes with its package.
func serverState() string { return filepath.Join(os.Getenv("ProgramData"), "Lanyard-mgmt") }
