package units

import "os"

// Options gives kardianos our own unit and init script in place of its own, which restart after two minutes.
func Options(service, program string, _ []string) (map[string]any, error) {
	unit, err := Systemd(service, program)
	if err != nil {
		return nil, err
	}
	script, err := OpenRC(service, program)
	return map[string]any{"SystemdScript": unit, "OpenRCScript": script}, err
}

// Packaged is a file of the package that has brought the service, or nothing.
func Packaged(service string) string {
	for _, f := range []string{"/lib/systemd/system/" + service + ".service", "/usr/lib/systemd/system/" + service + ".service", "/usr/share/doc/" + service + "/copyright"} {
		if _, err := os.Stat(f); err == nil {
			return f
		}
	}
	return ""
}
