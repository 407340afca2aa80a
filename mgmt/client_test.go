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
