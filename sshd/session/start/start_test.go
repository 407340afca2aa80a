//go:build unix

package start

import (
	"slices"
	"testing"
)

func TestOptionsTravelUnchanged(t *testing.T) {
	for _, o := range []Options{
		{Umask: -1},
		{Umask: 0o27, Files: 1024, Hold: true, RC: true, X11: "MIT-MAGIC-COOKIE-1 00ff", Xauth: "/usr/bin/xauth"},
		{Umask: 0, RC: true},
	} {
		if got := parse(o.String()); got != o {
			t.Errorf("%+v became %+v", o, got)
		}
	}
}

func TestProgramDoesNotSeeTheOptions(t *testing.T) {
	env := withoutVariable([]string{"A=1", Variable + "=x11=secret", "B=2"})
	if !slices.Equal(env, []string{"A=1", "B=2"}) {
		t.Errorf("%q", env)
	}
}
