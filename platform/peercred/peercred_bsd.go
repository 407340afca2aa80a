//go:build darwin || freebsd

package peercred

import (
	"errors"
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
	var cred *unix.Xucred
	var pid int
	var serr error
	if err := rc.Control(func(fd uintptr) {
		cred, serr = unix.GetsockoptXucred(int(fd), solLocal, unix.LOCAL_PEERCRED)
		pid = peerPID(int(fd), cred)
	}); err != nil {
		return Cred{}, fmt.Errorf("read the caller's identity: %w", err)
	}
	if serr != nil {
		return Cred{}, fmt.Errorf("read the caller's identity: %w", serr)
	}
	if cred.Ngroups < 1 {
		return Cred{}, errors.New("read the caller's identity: the kernel named no group")
	}
	return Cred{UID: cred.Uid, GID: cred.Groups[0], PID: pid}, nil
}
