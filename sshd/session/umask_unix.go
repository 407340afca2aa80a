//go:build unix

package session

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const defaultUmask = 0o22

// umask is what programs of a session begin with, whatever the daemon's own is: that of login.defs(5) where the
// system's sessions take it (pam_umask(8) in one of the files that they use), as sshd's do.
func umask(etc string) int {
	set := false
	for _, f := range []string{"sshd", "common-session", "system-auth", "password-auth", "postlogin"} {
		b, err := os.ReadFile(filepath.Join(etc, "pam.d", f))
		if err != nil {
			continue
		}
		for l := range strings.Lines(string(b)) {
			l, _, _ = strings.Cut(l, "#")
			set = set || strings.Contains(l, "pam_umask.so")
		}
	}
	if !set {
		return defaultUmask
	}
	b, err := os.ReadFile(filepath.Join(etc, "login.defs"))
	if err != nil {
		return defaultUmask
	}
	for l := range strings.Lines(string(b)) {
		f := strings.Fields(l)
		if len(f) < 2 || f[0] != "UMASK" {
			continue
		}
		if n, err := strconv.ParseUint(f[1], 8, 32); err == nil && n <= 0o777 {
			return int(n)
		}
	}
	return defaultUmask
}
