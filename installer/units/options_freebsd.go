package units

import "os"

// Options gives kardianos our own rc.d script in place of its own, which has no rcvar.
func Options(service, program string, _ []string) (map[string]any, error) {
	script, err := RCD(service, program)
	return map[string]any{"SysvScript": script}, err
}

// Packaged is a file of the package that has brought the service, or nothing.
func Packaged(service string) string {
	f := "/usr/local/share/licenses/" + service + "/LICENSE"
	if _, err := os.Stat(f); err != nil {
		return ""
	}
	return f
}
