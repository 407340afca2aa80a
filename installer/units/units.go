// Package units holds what starts the programs on each system: systemd units, launchd property lists, FreeBSD's rc.d
// scripts and OpenRC's. Packages ship them, and `lanyard service install` and `lanyard-mgmt service install` write them.
package units

import (
	"embed"
	"encoding/xml"
	"fmt"
	"strings"
)

//go:embed *.service *.plist *.rc *.openrc *.sysusers
var files embed.FS

// Names of the services on every system.
const (
	Name = "lanyard"
	Mgmt = "lanyard-mgmt"
	Tray = "lanyard-tray"
)

// ServerAccount is the account that the management server runs as; macOS' begin with an underscore.
const (
	ServerAccount      = "lanyard-mgmt"
	ServerAccountMacOS = "_lanyard-mgmt"
)

// Where the management server keeps its data when the system runs it.
const (
	ServerState    = "/var/lib/lanyard-mgmt" // Linux
	ServerStateBSD = "/var/db/lanyard-mgmt"  // FreeBSD, macOS
)

// Config is the folder of what an administrator sets, for each system.
const (
	Config        = "/etc/lanyard"
	ConfigFreeBSD = "/usr/local/etc/lanyard"
)

// Systemd is the unit file of a service (Name or Mgmt) for a program at this absolute path.
func Systemd(service, program string) (string, error) { return fill(service+".service", program) }

// Launchd is the property list of a service (Name or Tray).
func Launchd(service, program string) (string, error) { return fill(service+".plist", program) }

// LaunchdServer is the management server's property list, with flags of 'serve'.
func LaunchdServer(program string, flags []string) (string, error) {
	list, err := fill(Mgmt+".plist", program)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, f := range flags {
		b.WriteString("\t\t<string>")
		if err := xml.EscapeText(&b, []byte(f)); err != nil {
			return "", err
		}
		b.WriteString("</string>\n")
	}
	return strings.Replace(list, "@ARGUMENTS@", b.String(), 1), nil
}

// RCD is the FreeBSD rc.d script of a service (Name or Mgmt).
func RCD(service, program string) (string, error) { return fill(service+".rc", program) }

// OpenRC is the init script of a service (Name or Mgmt).
func OpenRC(service, program string) (string, error) { return fill(service+".openrc", program) }

// Sysusers declares ServerAccount (sysusers.d(5)).
func Sysusers() (string, error) { return fill(Mgmt+".sysusers", "/") }

// fill refuses paths that one of the formats would read as more than a path.
func fill(name, program string) (string, error) {
	text, err := files.ReadFile(name)
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(program, "/") || strings.ContainsFunc(program, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._+-", r))
	}) {
		return "", fmt.Errorf("the service's file cannot name the program %q; put it where the path has only letters, digits and /._+-, as in /usr/local/bin/lanyard", program)
	}
	return strings.NewReplacer("@PROGRAM@", program, "@CONFIG@", ConfigFreeBSD).Replace(string(text)), nil
}
