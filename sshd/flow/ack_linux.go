package flow

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// quickAck asks for an immediate acknowledgement; the kernel forgets it by itself (tcp(7)).
func quickAck(rc syscall.RawConn) {
	_ = rc.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) })
}
