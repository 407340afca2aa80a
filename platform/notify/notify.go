// Package notify shows a short message to the person at this desktop, with buttons where the desktop has them.
package notify

import "errors"

// ErrNone is returned when this desktop shows no notifications.
var ErrNone = errors.New("this desktop shows no notifications")

// Note is a message.
type Note struct {
	Title, Body string
	// Buttons are shown where the desktop has them; Key comes back when one is pressed.
	Buttons []Button
	// Group: a newer note of the same group takes the place of the older one. Empty: none.
	Group string
}

// Button of a note.
type Button struct{ Key, Label string }
