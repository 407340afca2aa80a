package units

// Options gives kardianos our own rc.d script in place of its own, which has no rcvar.
func Options(service, program string, _ []string) (map[string]any, error) {
	script, err := RCD(service, program)
	return map[string]any{"SysvScript": script}, err
}
