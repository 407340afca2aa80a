//go:build unix

package session

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"lanyard/platform/accounts"
)

// baseEnv is what a login begins with: what sshd(8), pam_env and the system's defaults give.
func baseEnv(a accounts.Account) []string {
	path := "/usr/local/bin:/usr/bin:/bin:/usr/games"
	if a.Privileged {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	env := []string{"PATH=" + path}
	for _, f := range []string{"/etc/environment", "/etc/default/locale"} { // pam_env(8) reads both on Debian
		env = append(env, environmentFile(f)...)
	}
	env = append(env, "USER="+a.Name, "LOGNAME="+a.Name, "HOME="+a.Home, "SHELL="+a.Shell)
	if tz := os.Getenv("TZ"); tz != "" {
		env = append(env, "TZ="+tz)
	}
	run := "/run/user/" + strconv.FormatUint(uint64(a.Uid), 10)
	if st, err := os.Stat(run); err == nil {
		if sys, ok := st.Sys().(*syscall.Stat_t); ok && sys.Uid == a.Uid {
			env = append(env, "XDG_RUNTIME_DIR="+run)
		}
	}
	return env
}

// environmentFile reads NAME=value lines, values perhaps in quotes.
func environmentFile(path string) []string {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var env []string
	for l := range strings.Lines(string(b)) {
		l = strings.TrimPrefix(strings.TrimSpace(l), "export ")
		name, value, ok := strings.Cut(l, "=")
		if !ok || name == "" || strings.ContainsAny(name, "# \t\"'") || strings.HasPrefix(name, "LD_") {
			continue
		}
		if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		env = append(env, name+"="+value)
	}
	return env
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
