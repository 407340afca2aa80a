package main

import (
	"errors"
	"strings"
	"testing"

	"lanyard/mgmt/api"
	"lanyard/service/ipc"
)

func TestSigningOutOfWhatHadEndedIsNoFailure(t *testing.T) {
	for _, c := range []struct {
		code string
		all  bool
		want string // part of what is said; empty: it is a failure
	}{
		{"blocked", false, "blocked before"},
		{"blocked", true, "blocked before"},
		{"revoked", false, "ended before"},
		{"revoked", true, ""}, // other machines were not told
		{"clock-skew", false, ""},
	} {
		got := endedBefore(&api.Error{Status: 403, Code: c.code, Message: "No."}, c.all)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%+v: %q", c, got)
		}
	}
	if got := endedBefore(errors.New("no answer"), false); got != "" {
		t.Errorf("without an answer: %q", got)
	}
}

func TestReachIsByTheNamesThatSSHKnows(t *testing.T) {
	me := &api.Me{Machines: []api.Reach{
		{Peer: "pweb", Name: "web-1", As: []string{"deploy", "root"}}, {Peer: "pdb", Name: "db-1", As: []string{"deploy"}}, {Peer: "pnew", Name: "new-1", As: []string{"x"}},
	}}
	st := &ipc.Status{Peers: []ipc.Peer{{ID: "pweb", Name: "web-1"}, {ID: "pdb", Name: "db-1", ShortName: true}}}
	var b strings.Builder
	if writeReach(&b, me, st); b.String() != "  web-1.lanyard.internal as deploy, root\n  db-1 as deploy\n  new-1 as x\n" {
		t.Errorf("%s", b.String())
	}
}
