//go:build darwin || freebsd

package spawn

import (
	"sync"

	"golang.org/x/sys/unix"
)

// waiter learns of a process's end from kqueue(2), which leaves the reaping to Process.Wait.
type waiter struct {
	ended    chan struct{}
	released chan struct{}
	once     sync.Once
}

// open starts a goroutine that lives as long as the process.
func (w *waiter) open(pid int) {
	w.ended, w.released = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(w.ended)
		kq, err := unix.Kqueue()
		if err != nil {
			return // Process.Wait blocks instead
		}
		defer unix.Close(kq)
		change := make([]unix.Kevent_t, 1)
		unix.SetKevent(&change[0], pid, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_ONESHOT)
		change[0].Fflags = unix.NOTE_EXIT
		events := make([]unix.Kevent_t, 1)
		for {
			n, err := unix.Kevent(kq, change, events, nil)
			if err == unix.EINTR {
				continue
			}
			if err != nil || n > 0 { // ESRCH: it has ended already
				return
			}
			change = nil
		}
	}()
}

// ready waits until the process has ended; false: it was released.
func (w *waiter) ready() bool {
	select {
	case <-w.ended:
		return true
	case <-w.released:
		return false
	}
}

func (w *waiter) release() { w.once.Do(func() { close(w.released) }) }
