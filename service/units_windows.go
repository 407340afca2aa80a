package main

import "github.com/kardianos/service"

// serviceOptions: start at boot, and again a moment after a fault.
func serviceOptions(string) (service.KeyValue, error) {
	return service.KeyValue{
		"StartType": "automatic", "OnFailure": "restart", "OnFailureDelayDuration": "2s", "OnFailureResetPeriod": 60,
	}, nil
}
