//go:build unix

package main

import (
	"fyne.io/systray"

	"lanyard/tray/menu"
)

// introduce is called before the library's loop, which takes the icon's name from its first title.
func introduce(icon menu.Icon) {
	systray.SetTitle("Lanyard")
	setIcon(icon)
}

// noService says what to do where no service runs.
const noService = "Start the service, or ask your administrator to."

// asAdmin is a command for the system's administrator, as one types it.
func asAdmin(command string) string { return "sudo " + command }
