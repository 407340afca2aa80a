package main

import (
	"lanyard/tray/icons"
	"lanyard/tray/menu"
)

func label(text string) string { return text }

func picture(icon menu.Icon) []byte { return icons.PNG(icons.Draw(icon, 44)) }

// exeSuffix ends the names of programs.
const exeSuffix = ""
