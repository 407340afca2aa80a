//go:build unix

package session

import (
	"os"
	"path/filepath"
	"strings"
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

func FuzzSystemFiles(f *testing.F) {
	f.Add("UMASK 027\n", "session optional pam_umask.so\n", "LANG=C.UTF-8\nexport A=\"b c\"\nLD_PRELOAD=x\n")
	f.Add("UMASK 7777777777777777777777", "# pam_umask.so", "A='\nB=\"\nC=''\n=\n")
	dir := f.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "pam.d"), 0o755); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, defs, pam, env string) {
		for name, text := range map[string]string{"login.defs": defs, "pam.d/sshd": pam, "environment": env} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if m := umask(dir); m < 0 || m > 0o777 {
			t.Errorf("umask %o", m)
		}
		for _, v := range environmentFile(filepath.Join(dir, "environment")) {
			if name, _, ok := strings.Cut(v, "="); !ok || name == "" || strings.HasPrefix(name, "LD_") || strings.ContainsAny(v, "\n") {
				t.Errorf("%q", v)
			}
		}
	})
}
