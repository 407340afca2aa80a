//go:build darwin || freebsd

package pty

import (
	"os"

	"golang.org/x/sys/unix"
)

// pollable leaves m as it is: kqueue(2) does not serve every terminal.
func pollable(m *os.File) (*os.File, error) { return m, nil }

func sendBreak(fd int) error {
	if err := unix.IoctlSetInt(fd, unix.TIOCSBRK, 0); err != nil {
		return err
	}
	return unix.IoctlSetInt(fd, unix.TIOCCBRK, 0)
}
