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

// submenusFirst: a row must be a submenu from the start. Panels of libdbusmenu-gtk show one as empty that becomes a
// submenu in the same breath as it gets its rows.
const submenusFirst = true

// noService says what to do where no service runs.
const noService = "Start the service, or ask your administrator to."

// asAdmin is a command for the system's administrator, as one types it.
func asAdmin(command string) string { return "sudo " + command }
