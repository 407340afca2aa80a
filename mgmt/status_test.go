package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/kardianos/service"
)

func TestServiceStatusSaysWhatToDo(t *testing.T) {
	yes, no := new(true), new(false)
	for want, s := range map[string]standing{
		"The system does not run the server: it is not installed ('lanyard-mgmt service install').\n":                            {Answers: no},
		"The server is installed and stopped ('lanyard-mgmt service start').\n":                                                  {Installed: true, Answers: no},
		"The system runs the server.\nIt answers (version 1.2).\n":                                                               {Installed: true, Running: true, Answers: yes, Release: "1.2"},
		"The system runs the server.\nIt does not answer.\n":                                                                     {Installed: true, Running: true, Answers: no, Problem: "It does not answer."},
		"The system runs the server.\nWhether it answers is told to administrators; run this with sudo (or as administrator).\n": {Installed: true, Running: true},
		"The system cannot tell.\n": {Installed: true, Answers: no, Problem: "The system cannot tell."},
		"The system does not run the server: it is not installed ('lanyard-mgmt service install').\nIt answers (version 1.2).\n": {Answers: yes, Release: "1.2"},
	} {
		var b strings.Builder
		if s.write(&b); b.String() != want {
			t.Errorf("%+v is told as\n%swant\n%s", s, b.String(), want)
		}
	}
}

func TestServiceStatusReadsWhatTheSystemSays(t *testing.T) {
	failed := errors.New("service in failed state") // as the library says it of systemd
	for _, c := range []struct {
		system     string
		privileged bool
		st         service.Status
		err        error
		want       standing
	}{
		{"linux", true, service.StatusUnknown, failed, standing{Installed: true, Problem: "The server is installed and has stopped after a failure; its log (" + seeLog + ") tells why."}},
		{"linux", true, service.StatusUnknown, service.ErrNotInstalled, standing{}},
		{"linux", true, service.StatusUnknown, errors.New("no bus"), standing{Installed: true, Problem: "The system cannot tell whether it runs the server: no bus."}},
		{"linux", false, service.StatusStopped, nil, standing{Installed: true}},
		{"linux", false, service.StatusRunning, nil, standing{Installed: true, Running: true}},
		{"darwin", true, service.StatusStopped, nil, standing{Installed: true}},
		{"darwin", false, service.StatusStopped, nil, standing{Installed: true, hidden: true, Problem: "The server is installed; whether it runs is told to administrators."}},
		{"freebsd", false, service.StatusStopped, nil, standing{Installed: true, hidden: true, Problem: "The server is installed; whether it runs is told to administrators."}},
		{"freebsd", false, service.StatusRunning, nil, standing{Installed: true, Running: true}},
		{"darwin", false, service.StatusUnknown, service.ErrNotInstalled, standing{}},
	} {
		if got := standingBy(c.system, c.privileged, c.st, c.err); got != c.want {
			t.Errorf("%s, as an administrator %v, %v %v\nis read as %+v", c.system, c.privileged, c.st, c.err, got)
		}
	}
}
