//go:build unix

package session

import (
	"fmt"
	"os"
	"path/filepath"

	"lanyard/platform/accounts"
)

// baseEnv is what sshd(8) begins with; package setup knows what PAM adds.
func baseEnv(a accounts.Account) []string {
	path := "/usr/local/bin:/usr/bin:/bin:/usr/games"
	if a.Privileged {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	return []string{"USER=" + a.Name, "LOGNAME=" + a.Name, "HOME=" + a.Home, "PATH=" + path, "SHELL=" + a.Shell}
}

// timezone is the daemon's own. The client may ask for another.
func timezone() []string {
	if tz := os.Getenv("TZ"); tz != "" {
		return []string{"TZ=" + tz}
	}
	return nil
}

// shellCommand is how the account's shell is run: as a login shell (argv0 begins with '-'), or for one command.
func shellCommand(a accounts.Account, command string, login bool) (path string, argv []string) {
	base := filepath.Base(a.Shell)
	if login {
		return a.Shell, []string{"-" + base}
	}
	return a.Shell, []string{base, "-c", command}
}

// ttyEnv is what a terminal adds.
func ttyEnv(term, name string) []string {
	return []string{"TERM=" + term, fmt.Sprintf("SSH_TTY=%s", name)}
}
