package flow

import (
	"os"

	"golang.org/x/sys/unix"
)

// widen fails where a user has used up pipe-user-pages-soft: the pipe then stays as it is.
func widen(f *os.File) {
	if rc, err := f.SyscallConn(); err == nil {
		_ = rc.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
	}
}
