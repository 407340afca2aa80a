//go:build unix

package paths

import (
	"io/fs"
	"os"
	"syscall"
)

func owned(fi fs.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

func othersWrite(fi fs.FileInfo) bool { return fi.Mode().Perm()&0o022 != 0 }

// syncDir makes a rename durable. Some file systems cannot; the file is whole either way.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		d.Close()
	}
}
