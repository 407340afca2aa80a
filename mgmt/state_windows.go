package main

import (
	"os"
	"path/filepath"
)

func defaultState() (string, error) {
	dir := os.Getenv("ProgramData")
	if dir == "" {
		return "", errNoHome
	}
	return filepath.Join(dir, "Lanyard", "mgmt"), nil
}
