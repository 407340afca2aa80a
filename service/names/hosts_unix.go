//go:build unix

package names

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// Hosts is the system's hosts file.
func Hosts() string { return "/etc/hosts" }

const newline = "\n"

func chown(f *os.File, fi fs.FileInfo) error {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return f.Chown(int(st.Uid), int(st.Gid))
}

func mountedOver(err error) bool {
	return errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.EXDEV)
}
