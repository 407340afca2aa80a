package main

import (
	"errors"
	"testing"

	"lanyard/platform/supervisor"
)

func TestServiceStatusSaysWhatTheSystemKnows(t *testing.T) {
	for is, want := range map[supervisor.Standing]string{
		supervisor.Absent:  "The system does not run the service: it is not installed ('lanyard service install').",
		supervisor.Running: "The system runs the service.",
		supervisor.Stopped: "The service is installed and stopped ('lanyard service start').",
		supervisor.Failed:  "The service is installed and has stopped after a failure; its log (journalctl -u lanyard) tells why.",
		supervisor.Hidden:  "The service is installed; whether the system runs it is told to administrators.",
		supervisor.Untold:  "The system cannot tell whether it runs the service: no bus.",
	} {
		if got := stands(is, errors.New("no bus")); got != want {
			t.Errorf("%d is told as %q, want %q", is, got, want)
		}
	}
	if got, want := stands(supervisor.Untold, nil), "The system cannot tell whether it runs the service."; got != want {
		t.Errorf("a system that says nothing is told as %q", got)
	}
}
