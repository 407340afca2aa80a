package ipc

import (
	"os"
	"path/filepath"
)

func address(profile string) (string, error) {
	dir := os.Getenv("LANYARD_RUN_DIR")
	if dir == "" {
		dir = "/run/lanyard"
	}
	return filepath.Join(dir, profile+".sock"), nil
}
