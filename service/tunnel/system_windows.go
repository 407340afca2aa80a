package tunnel

import (
	"errors"
	"syscall"

	"golang.org/x/sys/windows"
)

func portInUse(err error) bool {
	// WSAEACCES: another program holds the port for itself, or the system has reserved it.
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, windows.WSAEADDRINUSE) || errors.Is(err, windows.WSAEACCES)
}
