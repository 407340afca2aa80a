//go:build !windows

package tunnel

import (
	"errors"
	"syscall"
)

func portInUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }

// HasDriver reports whether a network interface can be made at all; here the kernel makes them.
func HasDriver() bool { return true }
