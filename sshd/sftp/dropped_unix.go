//go:build unix

package sftp

import (
	"errors"
	"os"
	"syscall"
)

// assertDropped makes sure that root's rights, once given up, cannot come back, and that the account's files do not
// lead into this process: it could be made to run programs through /proc/self/mem.
func assertDropped() error {
	if err := hide(); err != nil {
		return err
	}
	if os.Getuid() == 0 && os.Geteuid() == 0 {
		return nil // root's own session
	}
	if os.Getuid() != os.Geteuid() || os.Getgid() != os.Getegid() || syscall.Setuid(0) == nil {
		return errors.New("the rights of root could be taken back; files are not served")
	}
	return nil
}
