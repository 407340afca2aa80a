//go:build unix && !darwin

package main

import (
	"strings"

	"lanyard/tray/icons"
	"lanyard/tray/menu"
)

// label is text for a row: an underline marks a key in this menu's protocol, two are one.
func label(text string) string { return strings.ReplaceAll(text, "_", "__") }

// picture is an icon for this system's panel, which scales it down.
func picture(icon menu.Icon) []byte { return icons.PNG(icons.Draw(icon, 64)) }

// exeSuffix ends the names of programs.
const exeSuffix = ""
