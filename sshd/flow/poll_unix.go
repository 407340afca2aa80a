//go:build unix

package flow

import (
	"errors"
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

const pollable = true

// readPolled waits until there is something to read and only then takes a buffer.
func readPolled(rc syscall.RawConn) (buf *[big]byte, n int, err error) {
	var rerr error
	err = rc.Read(func(fd uintptr) bool {
		buf = buffers.Get().(*[big]byte)
		for {
			n, rerr = unix.Read(int(fd), buf[:])
			if rerr != unix.EINTR {
				break
			}
		}
		if rerr == unix.EAGAIN {
			buffers.Put(buf)
			buf = nil
			return false
		}
		return true
	})
	switch {
	case err != nil: // closed
		return buf, 0, err
	case errors.Is(rerr, unix.EIO): // a terminal's master after the last process has gone
		return buf, 0, io.EOF
	case rerr != nil:
		return buf, 0, rerr
	case n == 0:
		return buf, 0, io.EOF
	}
	return buf, n, nil
}
