// Package terminal opens a terminal window in which a program runs.
package terminal

import "errors"

// ErrNone is returned when no terminal program was found.
var ErrNone = errors.New("no terminal program was found here")
