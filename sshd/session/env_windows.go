package session

import (
	"path/filepath"
	"strings"

	"lanyard/platform/accounts"
)

// baseEnv is nothing here: a process begins with the environment that Windows keeps for its account.
func baseEnv(accounts.Account) []string { return nil }

func timezone() []string { return nil }

// shellCommand is how the machine's shell is run, interactively or for one command. cmd.exe takes a command line as it
// is, PowerShell and others one argument.
func shellCommand(a accounts.Account, command string, login bool) (path string, argv []string) {
	argv = []string{a.Shell}
	switch base := strings.ToLower(filepath.Base(a.Shell)); {
	case base == "cmd.exe" && !login:
		argv = append(argv, "/d", "/s", "/c", command)
	case base == "powershell.exe" || base == "pwsh.exe":
		argv = append(argv, "-NoLogo")
		if !login {
			argv = append(argv, "-Command", command)
		}
	case !login:
		argv = append(argv, "-c", command) // bash and its like
	}
	return a.Shell, argv
}

func ttyEnv(term, _ string) []string { return []string{"TERM=" + term} }
