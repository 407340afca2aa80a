package main

import (
	"os"

	"golang.org/x/sys/windows"
)

// hasTerminal reports whether somebody sits in front of this program: it has a console with a window, or with one of a
// terminal's. Programs with windows start ssh in a console that has none.
func hasTerminal() bool {
	f, err := os.OpenFile("CONIN$", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	f.Close()
	window, _, _ := windows.NewLazySystemDLL("kernel32.dll").NewProc("GetConsoleWindow").Call()
	return window != 0
}
