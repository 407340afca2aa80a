package login

import (
	"errors"
	"math"
	"os"

	"golang.org/x/sys/windows"
)

const noFollow = 0

var errLocked = errors.New("another process holds it")

// tryLock locks a byte far behind the content, which others may read.
func tryLock(f *os.File) error {
	at := windows.Overlapped{OffsetHigh: math.MaxInt32}
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return errLocked
	}
	return err
}
