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
	// Else is added to Body where the desktop has no buttons: one sentence that says where to click instead.
	Else string
	// Group: a newer note of the same group takes the place of the older one. Empty: none.
	Group string
}

// Button of a note.
type Button struct{ Key, Label string }

// body is what is shown below the title.
func (n Note) body(buttons bool) string {
	if buttons || n.Else == "" {
		return n.Body
	}
	return n.Body + " " + n.Else
}
