package sftp

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// whole is every file of the system, as far as the kernel lets the account.
type whole struct{}

func (whole) open(name string, flag int, perm os.FileMode) (*os.File, error) {
	return os.OpenFile(local(name), flag|openFlags, perm)
}

func (whole) stat(name string) (attrs, error) {
	fi, err := os.Stat(local(name))
	return attrsOf(fi), err
}

func (whole) lstat(name string) (attrs, error) {
	fi, err := os.Lstat(local(name))
	return attrsOf(fi), err
}

func (whole) mkdir(name string, perm os.FileMode) error { return os.Mkdir(local(name), perm) }

func (whole) remove(name string, folder bool) error { return removeAt(nil, local(name), folder) }

func (whole) rename(from, to string, replace bool) error {
	return renameAt(nil, local(from), nil, local(to), replace)
}
func (whole) link(from, to string) error             { return os.Link(local(from), local(to)) }
func (whole) symlink(target, name string) error      { return os.Symlink(local(target), local(name)) }
func (whole) chmod(name string, p os.FileMode) error { return os.Chmod(local(name), p) }
func (whole) chown(name string, uid, gid int) error  { return os.Chown(local(name), uid, gid) }
func (whole) lset(name string, a attrs) error        { return lsetAt(nil, local(name), a) }
func (whole) close()                                 {}

func (whole) readlink(name string) (string, error) {
	t, err := os.Readlink(local(name))
	return remote(t), err
}

func (whole) chtimes(name string, atime, mtime time.Time) error {
	return os.Chtimes(local(name), atime, mtime)
}

func (whole) statfs(name string) (fsStat, error) { return statfsPath(local(name)) }

// realpath resolves links; the last part of the name need not exist.
func (whole) realpath(name string) (string, error) {
	if isTop(name) {
		return "/", nil
	}
	abs := local(name)
	if !filepath.IsAbs(abs) {
		wd, err := os.Getwd()
		if err != nil {
			return "", err
		}
		abs = wd + string(filepath.Separator) + abs // not cleaned: ".." comes after links
	}
	real, err := filepath.EvalSymlinks(abs)
	if errors.Is(err, fs.ErrNotExist) {
		dir, base := filepath.Split(strings.TrimRight(abs, `/\`[:len(string(filepath.Separator))]))
		if base == "." || base == ".." {
			return "", err
		}
		if _, lerr := os.Lstat(abs); lerr == nil {
			return path.Clean(remote(abs)), nil // a link that leads nowhere
		}
		if dir, err = filepath.EvalSymlinks(dir); err == nil {
			real = filepath.Join(dir, base)
		}
	}
	return path.Clean(remote(real)), err
}
