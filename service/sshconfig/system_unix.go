//go:build unix

package sshconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"lanyard/platform/paths"
)

const systemConfig = "/etc/ssh/ssh_config"

// dropInFolder checks the machine's folder for drop-ins.
func dropInFolder(dropIn string) error {
	dir := filepath.Dir(dropIn)
	fi, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNoFolder
	}
	if err != nil {
		return err
	}
	if !fi.IsDir() {
		return fmt.Errorf("%s is not a folder; no ssh configuration is written", dir)
	}
	return paths.PrivateDir(dir)
}

// leaveDropInFolder: it is the system's.
func leaveDropInFolder(string) error { return nil }
