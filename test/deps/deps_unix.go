//go:build !windows

package deps

import (
	_ "fyne.io/systray"
	_ "github.com/creack/pty"
)
