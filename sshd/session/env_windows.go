package session

import (
	"os"

	"lanyard/platform/accounts"
)

// baseEnv is this process's own: it serves its own account.
func baseEnv(a accounts.Account) []string { return os.Environ() }

// shellCommand runs cmd.exe, which takes its command line as it is.
func shellCommand(a accounts.Account, command string, login bool) (path string, argv []string) {
	if login {
		return a.Shell, []string{a.Shell}
	}
	return a.Shell, []string{a.Shell, "/d", "/c", command}
}

func ttyEnv(term, name string) []string { return []string{"TERM=" + term} }
