package main

import "lanyard/tray/menu"

// introduce does nothing: here the library takes an icon in its loop only.
func introduce(menu.Icon) {}

// submenusFirst: a row must be a submenu from the start. Here a hidden row cannot be one; it gets its rows when it is shown.
const submenusFirst = false

// noService says what to do where no service runs.
const noService = "Start the service in a terminal that runs as administrator, or ask your administrator to."

// asAdmin is a command for the system's administrator, as one types it: the terminal has the rights, not the command.
func asAdmin(command string) string { return command }
