// Package units holds what starts the service on each system: the systemd unit, the launchd property list and the
// FreeBSD rc.d script. Packages ship them, and `lanyard service install` writes them.
package units

import (
	_ "embed" // the files beside
	"fmt"
	"strings"
)

//go:embed lanyard.service
var systemd string

//go:embed lanyard.plist
var launchd string

//go:embed lanyard.rc
var rcd string

// Name of the service on every system.
const Name = "lanyard"

// Systemd is the unit file for a program at this absolute path.
func Systemd(program string) (string, error) { return fill(systemd, program) }

// Launchd is the property list.
func Launchd(program string) (string, error) { return fill(launchd, program) }

// RCD is the FreeBSD rc.d script.
func RCD(program string) (string, error) { return fill(rcd, program) }

// fill refuses paths that one of the formats would read as more than a path.
func fill(text, program string) (string, error) {
	if !strings.HasPrefix(program, "/") || strings.ContainsFunc(program, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._+-", r))
	}) {
		return "", fmt.Errorf("the service's file cannot name the program %q; put it where the path has only letters, digits and /._+-, as in /usr/local/bin/lanyard", program)
	}
	return strings.ReplaceAll(text, "@PROGRAM@", program), nil
}
