package pty

import "golang.org/x/sys/unix"

type flag = uint32

const (
	getTermios = unix.TIOCGETA
	setTermios = unix.TIOCSETA
	iutf8      = 0x00004000 // termios.h: IUTF8, since FreeBSD 14
	vdisable   = 0xff
)
