package main

import (
	"os"

	"golang.org/x/sys/windows"
)

// someoneIsThere reports whether a person can be asked to sign in: a console, or a session other than that of the
// services.
func someoneIsThere() bool {
	if hasTerminal() {
		return true
	}
	var session uint32
	err := windows.ProcessIdToSessionId(windows.GetCurrentProcessId(), &session)
	return err == nil && session != 0
}

func hasTerminal() bool {
	f, err := os.OpenFile("CONIN$", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	f.Close()
	return true
}
