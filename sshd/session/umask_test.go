//go:build unix

package session

import (
	"os"
	"path/filepath"
	"testing"
)

func TestUmaskIsThatOfTheSystemsSessions(t *testing.T) {
	for _, c := range []struct {
		pam, defs string
		want      int
	}{
		{"", "UMASK 077\n", 0o22},
		{"session optional pam_umask.so\n", "# UMASK 077\nUMASK\t\t027\n", 0o27},
		{"#session optional pam_umask.so\n", "UMASK 027\n", 0o22},
		{"session optional pam_umask.so\n", "UMASK nonsense\n", 0o22},
		{"session optional pam_umask.so\n", "", 0o22},
	} {
		etc := t.TempDir()
		os.Mkdir(filepath.Join(etc, "pam.d"), 0o755)
		os.WriteFile(filepath.Join(etc, "pam.d", "common-session"), []byte(c.pam), 0o644)
		os.WriteFile(filepath.Join(etc, "login.defs"), []byte(c.defs), 0o644)
		if got := umask(etc); got != c.want {
			t.Errorf("%q %q: %03o, want %03o", c.pam, c.defs, got, c.want)
		}
	}
}
