package main

import (
	"strings"
	"testing"
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
