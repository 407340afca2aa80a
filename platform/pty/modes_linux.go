package pty

import "golang.org/x/sys/unix"

type flag = uint32

const (
	getTermios = unix.TCGETS
	setTermios = unix.TCSETS
	iutf8      = unix.IUTF8
	vdisable   = 0
)
