package pty

import (
	"fmt"
	"syscall"

	"github.com/charmbracelet/x/conpty"
)

// PTY is a pseudo-console.
type PTY struct{ *conpty.ConPty }

// Open makes a console of this size. Windows consoles have no terminal modes to set.
func Open(size Size, _ []Mode) (*PTY, error) {
	c, err := conpty.New(cells(size.Cols, 80), cells(size.Rows, 25), 0)
	if err != nil {
		return nil, fmt.Errorf("open a console: %w; Windows 10 1809 or later is needed", err)
	}
	return &PTY{c}, nil
}

// cells is what ConPTY takes: a COORD of signed 16-bit numbers, not zero.
func cells(n uint32, unset int) int {
	if n == 0 {
		return unset
	}
	return int(min(clamp(n), 0x7fff))
}

// Name is empty: a console has no path.
func (p *PTY) Name() string { return "" }

// Resize tells the console of a new size.
func (p *PTY) Resize(s Size) error { return p.ConPty.Resize(cells(s.Cols, 80), cells(s.Rows, 25)) }

// Start runs argv in the console.
func (p *PTY) Start(path string, argv []string, attr *syscall.ProcAttr) (pid int, handle uintptr, err error) {
	return p.Spawn(path, argv, attr)
}

// CloseSlave does nothing: a console has no slave side.
func (p *PTY) CloseSlave() {}
