package pty

import (
	"os"

	"golang.org/x/sys/unix"
)

// pollable makes a file of m whose reads and writes wait in the runtime's poller: creack/pty leaves the master
// blocking, where each reader holds a thread and Close does not end its read, be the terminal's programs as deaf to
// a hang-up as they like.
func pollable(m *os.File) (*os.File, error) {
	defer m.Close()
	fd, err := unix.FcntlInt(m.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), m.Name()), nil
}

func sendBreak(fd int) error { return unix.IoctlSetInt(fd, unix.TCSBRK, 0) }
