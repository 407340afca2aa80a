package units

// Options: start at boot, and again a moment after a fault.
func Options(string, string, []string) (map[string]any, error) {
	return map[string]any{
		"StartType": "automatic", "OnFailure": "restart", "OnFailureDelayDuration": "2s", "OnFailureResetPeriod": 60,
	}, nil
}

// Packaged: Windows' own installer takes the service away with its package.
func Packaged(string) string { return "" }
