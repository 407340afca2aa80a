//go:build unix

package sftp

import (
	"errors"
	"os"
	"syscall"
)

// assertDropped makes sure that root's rights, once given up, cannot come back.
func assertDropped() error {
	if os.Getuid() == 0 && os.Geteuid() == 0 {
		return nil // root's own session
	}
	if os.Getuid() != os.Geteuid() || os.Getgid() != os.Getegid() || syscall.Setuid(0) == nil {
		return errors.New("the rights of root could be taken back; files are not served")
	}
	return nil
}
