//go:build unix

package daemon

import (
	"os"
	"path/filepath"
	"syscall"
)

// sameHands reports whether a program and its folder belong to the owner of own, or root, and nobody else may change them.
func sameHands(own os.FileInfo, name string) bool {
	owner := own.Sys().(*syscall.Stat_t).Uid
	for _, at := range []string{name, filepath.Dir(name)} {
		fi, err := os.Lstat(at)
		if err != nil {
			return false
		}
		uid := fi.Sys().(*syscall.Stat_t).Uid
		if at == name && fi.Mode()&0o005 != 0o005 || at != name && fi.Mode()&0o001 == 0 {
			return false // others' sessions could not run it
		}
		if uid != owner && uid != 0 || fi.Mode()&0o022 != 0 || at == name && !fi.Mode().IsRegular() {
			return false
		}
	}
	return true
}
