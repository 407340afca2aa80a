package main

import (
	"encoding/xml"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"lanyard/platform/paths"
)

// autostart has launchd start the program with the desktop, or not. The package's agent starts it for everyone and
// the program looks at the person's choice itself; only where there is none does the person get one of their own.
func autostart(program string, on bool) error {
	own := filepath.Join(paths.Home(), "Library", "LaunchAgents", "lanyard-tray.plist")
	if !on {
		if err := os.Remove(own); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if exists("/Library/LaunchAgents/lanyard-tray.plist") {
		return nil
	}
	var name strings.Builder
	if err := xml.EscapeText(&name, []byte(program)); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(own), 0o700); err != nil {
		return err
	}
	text := `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
<key>Label</key><string>lanyard-tray</string>
<key>ProgramArguments</key><array><string>` + name.String() + `</string><string>--autostart</string></array>
<key>LimitLoadToSessionType</key><string>Aqua</string>
<key>RunAtLoad</key><true/>
</dict></plist>
`
	return paths.WriteFile(own, []byte(text), 0o644)
}
