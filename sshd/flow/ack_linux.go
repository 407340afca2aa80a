package flow

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// delayAcks has the system wait with acknowledgements, and ackNow sends one that waits (tcp(7), TCP_QUICKACK; an even
// number is "now, and then wait again").

func delayAcks(rc syscall.RawConn) { setQuickAck(rc, 0) }

func ackNow(rc syscall.RawConn) { setQuickAck(rc, 2) }

func setQuickAck(rc syscall.RawConn, v int) {
	_ = rc.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, v) })
}
