package spawn

import (
	"os"

	"golang.org/x/sys/unix"
)

// waiter waits for a process on its pidfd through the runtime's poller: a blocking wait would hold a thread, and
// with it some 50 kB, per session.
type waiter struct {
	fd   *os.File
	proc *os.Process
}

func (w *waiter) open(p *os.Process, pidfd int) {
	w.proc = p
	if pidfd < 0 {
		return
	}
	if unix.SetNonblock(pidfd, true) != nil {
		unix.Close(pidfd)
		return
	}
	w.fd = os.NewFile(uintptr(pidfd), "pidfd")
}

// ready waits until the process has ended; false: it was released.
func (w *waiter) ready() bool {
	if w.fd == nil {
		return true // Process.Wait blocks
	}
	rc, err := w.fd.SyscallConn()
	if err != nil {
		return false
	}
	ended := false
	err = rc.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, _ := unix.Poll(p, 0)
		ended = n > 0
		return ended
	})
	w.fd.Close()
	return err == nil && ended
}

func (w *waiter) release() {
	if w.fd != nil {
		w.fd.Close()
	}
}
