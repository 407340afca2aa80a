package sftp

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// hide keeps the account's processes from tracing this one, and this one from opening its own memory as a file
// (proc(5): the files in /proc/self become root's).
func hide() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("hide the file server's memory: %w", err)
	}
	return nil
}
