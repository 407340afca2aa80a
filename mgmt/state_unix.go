//go:build unix

package main

import (
	"os"
	"path/filepath"
)

func defaultState() (string, error) {
	if os.Geteuid() == 0 {
		return serverState(), nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "lanyard-mgmt"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", errNoHome
	}
	return filepath.Join(home, ".local", "state", "lanyard-mgmt"), nil
}
