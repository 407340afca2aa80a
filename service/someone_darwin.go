package main

import (
	"os"
	"os/exec"
	"strings"
)

// someoneIsThere reports whether a person can be asked to sign in: a terminal or a desktop. launchd calls the session
// of a person at the screen "Aqua".
func someoneIsThere() bool {
	if hasTerminal() {
		return true
	}
	out, err := exec.Command("/bin/launchctl", "managername").Output()
	return err == nil && strings.TrimSpace(string(out)) == "Aqua"
}

func hasTerminal() bool {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	f.Close()
	return true
}
