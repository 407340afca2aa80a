//go:build unix

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// hasTerminal reports whether somebody sits in front of this program: it has a terminal and is what runs in front there. An
// IDE, a timer and a job in the background have nobody.
func hasTerminal() bool {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	front, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
	return err == nil && front == unix.Getpgrp()
}
