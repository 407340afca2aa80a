//go:build unix && !darwin

package main

import "os"

// someoneIsThere reports whether a person can be asked to sign in: a terminal or a desktop. A cron job has neither.
func someoneIsThere() bool {
	return hasTerminal() || os.Getenv("DISPLAY") != "" || os.Getenv("WAYLAND_DISPLAY") != ""
}

func hasTerminal() bool {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	f.Close()
	return true
}
