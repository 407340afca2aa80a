// Package clipboard puts text on the clipboard of the person's desktop.
package clipboard

import "errors"

// ErrNone is returned when nothing here can write to a clipboard.
var ErrNone = errors.New("no program that writes to the clipboard was found here")
