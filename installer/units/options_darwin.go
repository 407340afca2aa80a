package units

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
