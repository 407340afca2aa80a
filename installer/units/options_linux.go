package units

// Options gives kardianos our own unit and init script in place of its own, which restart after two minutes.
func Options(service, program string, _ []string) (map[string]any, error) {
	unit, err := Systemd(service, program)
	if err != nil {
		return nil, err
	}
	script, err := OpenRC(service, program)
	return map[string]any{"SystemdScript": unit, "OpenRCScript": script}, err
}
