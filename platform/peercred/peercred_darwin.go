package peercred

import "golang.org/x/sys/unix"

// solLocal is SOL_LOCAL of <sys/un.h>.
const solLocal = 0

func peerPID(fd int, _ *unix.Xucred) int {
	pid, err := unix.GetsockoptInt(fd, solLocal, unix.LOCAL_PEERPID)
	if err != nil {
		return 0
	}
	return pid
}
