package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestWhoForgotSudoIsTold(t *testing.T) {
	system, own := t.TempDir(), filepath.Join(t.TempDir(), "lanyard-mgmt")
	for _, c := range []struct {
		state, system string
		administrator bool
		sudo          bool
	}{
		{own, system, false, true},
		{own, system, true, false},
		{system, system, false, false},
		{own, filepath.Join(system, "none"), false, false},
	} {
		if err := noServer(c.state, c.system, c.administrator); strings.Contains(err.Error(), "run this with sudo") != c.sudo || !strings.Contains(err.Error(), c.state) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// A provider that an administrator adds answers in words of its own, which come back in a refusal.
func TestForeignWordsOfARefusalSteerNoTerminal(t *testing.T) {
	const text = "line 1: \"…\"\n\tline 2"
	if got := lines(text); got != text {
		t.Errorf("%q", got)
	}
	if got := lines("500 \x1b]0;title\x07\r\u202e\u009b"); got != "500 ?]0;title????" {
		t.Errorf("%q", got)
	}
}
