package units

import "os"

// Options gives kardianos our own property list in place of its own, which does not run at load.
func Options(service, program string, flags []string) (map[string]any, error) {
	var list string
	var err error
	if service == Mgmt {
		list, err = LaunchdServer(program, flags)
	} else {
		list, err = Launchd(service, program)
	}
	return map[string]any{"LaunchdConfig": list}, err
}

// Packaged is a file of the package that has brought the service, or nothing.
func Packaged(service string) string {
	f := "/usr/local/share/" + service + "/uninstall"
	if _, err := os.Stat(f); err != nil {
		return ""
	}
	return f
}
