package main

import (
	"errors"
	"testing"

	"lanyard/installer/units"
)

func TestServiceStatusSaysWhatTheSystemKnows(t *testing.T) {
	for is, want := range map[units.Standing]string{
		units.Absent:  "The system does not run the service: it is not installed ('lanyard service install').",
		units.Running: "The system runs the service.",
		units.Stopped: "The service is installed and stopped ('lanyard service start').",
		units.Failed:  "The service is installed and has stopped after a failure; its log (journalctl -u lanyard) tells why.",
		units.Hidden:  "The service is installed; whether the system runs it is told to administrators.",
		units.Untold:  "The system cannot tell whether it runs the service: no bus.",
	} {
		if got := stands(is, errors.New("no bus")); got != want {
			t.Errorf("%d is told as %q, want %q", is, got, want)
		}
	}
	if got, want := stands(units.Untold, nil), "The system cannot tell whether it runs the service."; got != want {
		t.Errorf("a system that says nothing is told as %q", got)
	}
}
