package sshconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"lanyard/platform/paths"
)

var systemConfig = filepath.Join(filepath.Dir(filepath.Dir(paths.System(paths.DefaultProfile).DropIn)), "ssh_config")

// Windows' OpenSSH has neither the folder nor a line that reads it.
const includeMark = "# Lanyard's machines; Lanyard takes these lines out again.\n"

// dropInFolder makes the folder for drop-ins, below that of OpenSSH, and has OpenSSH read it. Any user may make folders
// in ProgramData: those that somebody else owns or may change are refused.
func dropInFolder(dropIn string) error {
	dir := filepath.Dir(dropIn)
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := paths.SharedDir(d); err != nil {
			return fmt.Errorf("%w; no ssh configuration is written", err)
		}
	}
	line, err := includeLine(dropIn)
	if err != nil {
		return err
	}
	old, err := paths.ReadFile(systemConfig)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read OpenSSH's configuration: %w", err)
	}
	if bytes.Contains(old, []byte(line)) {
		return nil
	}
	// First, where no block of hosts has begun.
	return paths.WriteFile(systemConfig, append([]byte(includeMark+line), old...), 0o644)
}

func includeLine(dropIn string) (string, error) {
	word, err := configWord(dropIn)
	return "Include " + word + "\n", err
}

// leaveDropInFolder takes away what dropInFolder made, unless others use it.
func leaveDropInFolder(dropIn string) error {
	dir := filepath.Dir(dropIn)
	line, err := includeLine(dropIn)
	if err != nil {
		return err
	}
	old, err := paths.ReadFile(systemConfig)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("read OpenSSH's configuration: %w", err)
	}
	if left := strings.Replace(string(old), includeMark+line, "", 1); left == "" {
		err = os.Remove(systemConfig)
	} else if left != string(old) {
		err = paths.WriteFile(systemConfig, []byte(left), 0o644)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("take the line out of %s: %w", systemConfig, err)
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		_ = os.Remove(d) // only an empty one goes
	}
	return nil
}
