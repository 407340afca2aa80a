//go:build unix

package paths

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// noWait opens a pipe without waiting for its other end.
const noWait = syscall.O_NONBLOCK

func owned(_ string, fi fs.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

func othersWrite(_ string, fi fs.FileInfo) bool { return fi.Mode().Perm()&0o022 != 0 }

func othersRead(fi fs.FileInfo) bool { return fi.Mode().Perm()&0o077 != 0 }

func takeAway(dir string) string { return "run 'chmod go-w " + dir + "'" }

func allow(f *os.File, _ string, perm os.FileMode) error { return f.Chmod(perm) }

// MachineDir makes a folder of the machine's own, or checks the one that is there: everyone may enter it and read the
// names in it, only this user may change it.
func MachineDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the folder %s: %w", dir, err)
	}
	if err := checkDir(dir); err != nil {
		return err
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return err
	}
	// Whatever the umask was.
	if fi.Mode().Perm()&0o055 != 0o055 {
		if err := os.Chmod(dir, 0o755); err != nil {
			return fmt.Errorf("open the folder %s for readers: %w", dir, err)
		}
	}
	return nil
}

// syncDir makes a rename durable. Some file systems cannot; the file is whole either way.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		d.Close()
	}
}
