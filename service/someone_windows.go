package main

import (
	"os"

	"golang.org/x/sys/windows"
)

// someoneIsThere reports whether a person can be asked to sign in: a console, or a session other than that of the
// services.
func someoneIsThere() bool {
	if f, err := os.OpenFile("CONIN$", os.O_RDWR, 0); err == nil {
		f.Close()
		return true
	}
	var session uint32
	err := windows.ProcessIdToSessionId(windows.GetCurrentProcessId(), &session)
	return err == nil && session != 0
}
