package tunnel

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/windows"
)

func portInUse(err error) bool {
	// WSAEACCES: another program holds the port for itself, or the system has reserved it.
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, windows.WSAEADDRINUSE) || errors.Is(err, windows.WSAEACCES)
}

// Driver is the library that makes network interfaces. It is loaded from the program's own folder only.
const Driver = "wintun.dll"

// HasDriver reports whether a network interface can be made at all.
func HasDriver() bool {
	program, err := os.Executable()
	if err != nil {
		return false
	}
	fi, err := os.Stat(filepath.Join(filepath.Dir(program), Driver))
	return err == nil && fi.Mode().IsRegular()
}
