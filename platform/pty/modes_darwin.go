package pty

import "golang.org/x/sys/unix"

type flag = uint64

const (
	getTermios = unix.TIOCGETA
	setTermios = unix.TIOCSETA
	iutf8      = unix.IUTF8
	vdisable   = 0xff
)
