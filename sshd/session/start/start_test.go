//go:build unix

package start

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestOptionsTravelUnchanged(t *testing.T) {
	for _, o := range []Options{
		{Umask: -1},
		{Umask: 0o27, Files: 1024, Limits: []Limit{{7, 1024, 1<<64 - 1}, {0, 0, 5}}, Hold: true, Keyring: true, Motd: []string{"/run/motd.dynamic", "/etc/motd"}, Last: "Last login: now", RC: true, X11: "MIT-MAGIC-COOKIE-1 00ff", Xauth: "/usr/bin/xauth"},
		{Umask: 0, RC: true},
	} {
		if got := parse(o.String()); !reflect.DeepEqual(got, o) {
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

// The helper's environment may be a person's own, who runs it from a shell: whatever stands there, it is read or left.
func FuzzOptions(f *testing.F) {
	f.Add(Options{Umask: 0o27, Files: 1024, Hold: true, RC: true, X11: "MIT-MAGIC-COOKIE-1 00ff", Xauth: "/usr/bin/xauth"}.String(), "A=1\nB=2\n")
	f.Add("umask=9\nfiles=-1\nhold\n\n=\nx11", "\n\nA")
	f.Fuzz(func(t *testing.T, s, held string) {
		o := parse(s)
		if again := parse(o.String()); o.Umask < 0 != (again.Umask < 0) || o.X11 != "" && !reflect.DeepEqual(again, o) && o.Umask >= 0 {
			t.Errorf("%q: %+v, then %+v", s, o, again)
		}
		for _, v := range variables(held) {
			if strings.Contains(v, "\n") {
				t.Errorf("%q", v)
			}
		}
		if lines := strings.Count(held, "\n"); len(variables(held)) > lines+1 {
			t.Errorf("%d variables of %d lines", len(variables(held)), lines)
		}
	})
}
