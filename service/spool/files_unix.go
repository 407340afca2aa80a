//go:build unix

package spool

import (
	"io/fs"
	"syscall"
)

// linked reports whether a file has other names: whoever has one of them would see what is written.
func linked(fi fs.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && st.Nlink > 1
}
