package setup

import (
	"os"
	"path/filepath"
	"testing"
)

func write(t *testing.T, root, name, text string) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

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
		{"session optional pam_umask.so umask=0077\n", "UMASK 027\n", 0o77},
	} {
		root := t.TempDir()
		write(t, root, "etc/pam.d/sshd", "@include common-session\n")
		write(t, root, "etc/pam.d/common-session", c.pam)
		write(t, root, "etc/login.defs", c.defs)
		s := Open()
		s.root = root
		if got := s.Plan(Ask{}).Umask; got != c.want {
			t.Errorf("%q %q: %03o, want %03o", c.pam, c.defs, got, c.want)
		}
	}
}
