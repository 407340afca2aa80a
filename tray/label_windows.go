package main

import (
	"strings"

	"lanyard/tray/icons"
	"lanyard/tray/menu"
)

// label is text for a row: an ampersand marks a key in this system's menus, two are one.
func label(text string) string { return strings.ReplaceAll(text, "&", "&&") }

func picture(icon menu.Icon) []byte { return icons.ICO(icon) }

// exeSuffix ends the names of programs.
const exeSuffix = ".exe"
