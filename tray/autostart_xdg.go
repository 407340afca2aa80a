//go:build unix && !darwin

package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"lanyard/platform/paths"
)

// entryName is the autostart entry (Desktop Application Autostart Specification 0.5), the package's or the person's.
const entryName = "lanyard-tray.desktop"

// autostart has the desktop start the program, or not. The package's entry starts it for everyone and the program
// looks at the person's choice itself; only where there is none does the person get one of their own.
func autostart(program string, on bool) error {
	config, err := os.UserConfigDir()
	if err != nil {
		return err
	}
	own := filepath.Join(config, "autostart", entryName)
	if !on {
		if err := os.Remove(own); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if exists(filepath.Join("/etc/xdg/autostart", entryName)) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(own), 0o700); err != nil {
		return err
	}
	// Exec's quoting (Desktop Entry Specification): within double quotes these four are escaped, and a percent sign
	// is two.
	quoted := strings.NewReplacer(`\`, `\\\\`, `"`, `\\"`, "`", "\\\\`", "$", `\\$`, "%", "%%").Replace(program)
	text := "[Desktop Entry]\nType=Application\nName=Lanyard\nExec=\"" + quoted + "\" --autostart\nTerminal=false\n"
	return paths.WriteFile(own, []byte(text), 0o600)
}
