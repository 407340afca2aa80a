package main

import (
	"errors"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// runKey lists what a person's desktop starts.
const runKey = `Software\Microsoft\Windows\CurrentVersion\Run`

// autostart has the desktop start the program, or not. The package's entry starts it for everyone and the program
// looks at the person's choice itself; only where there is none does the person get one of their own.
func autostart(program string, on bool) error {
	if on {
		all, err := registry.OpenKey(registry.LOCAL_MACHINE, runKey, registry.QUERY_VALUE)
		if err == nil {
			_, _, err = all.GetStringValue("Lanyard")
			all.Close()
		}
		if err == nil {
			return nil
		}
	}
	own, _, err := registry.CreateKey(registry.CURRENT_USER, runKey, registry.SET_VALUE)
	if err != nil {
		return err
	}
	defer own.Close()
	if on {
		return own.SetStringValue("Lanyard", windows.ComposeCommandLine([]string{program, "--autostart"}))
	}
	if err := own.DeleteValue("Lanyard"); err != nil && !errors.Is(err, registry.ErrNotExist) {
		return err
	}
	return nil
}
