package peercred

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

func of(c net.Conn) (Cred, error) {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return Cred{}, ErrNotLocal
	}
	rc, err := uc.SyscallConn()
	if err != nil {
		return Cred{}, fmt.Errorf("read the caller's identity: %w", err)
	}
	var cred *unix.Ucred
	var serr error
	if err := rc.Control(func(fd uintptr) {
		cred, serr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return Cred{}, fmt.Errorf("read the caller's identity: %w", err)
	}
	if serr != nil {
		return Cred{}, fmt.Errorf("read the caller's identity: %w", serr)
	}
	return Cred{UID: cred.Uid, GID: cred.Gid, PID: int(cred.Pid)}, nil
}
