package sftp

import (
	"os"
	"path"
	"path/filepath"
	"time"
)

// limited is what lies below one folder. os.Root keeps every name and every link within it, also while somebody
// changes them: it goes part by part, from the open folder, and never by a path. Names are relative, clean and
// have slashes; they never begin with "..".
type limited struct {
	root   *os.Root
	prefix string
}

func (l *limited) open(name string, flag int, perm os.FileMode) (*os.File, error) {
	return l.root.OpenFile(filepath.FromSlash(name), flag|openFlags, perm)
}

func (l *limited) stat(name string) (attrs, error) {
	fi, err := l.root.Stat(filepath.FromSlash(name))
	return attrsOf(fi), err
}

func (l *limited) lstat(name string) (attrs, error) {
	fi, err := l.root.Lstat(filepath.FromSlash(name))
	return attrsOf(fi), err
}

func (l *limited) mkdir(name string, perm os.FileMode) error {
	return l.root.Mkdir(filepath.FromSlash(name), perm)
}

func (l *limited) link(from, to string) error {
	return l.root.Link(filepath.FromSlash(from), filepath.FromSlash(to))
}

// symlink makes links that stay below the folder only. File transfer would not follow others, but programs on this
// machine might.
func (l *limited) symlink(target, name string) error {
	to := target
	if !path.IsAbs(to) {
		to = path.Join(l.prefix, path.Dir(name), target)
	}
	if _, in := below(l.prefix, path.Clean(to)); !in {
		return errOutside
	}
	return l.root.Symlink(local(target), filepath.FromSlash(name))
}

func (l *limited) readlink(name string) (string, error) {
	t, err := l.root.Readlink(filepath.FromSlash(name))
	return remote(t), err
}

func (l *limited) chmod(name string, p os.FileMode) error {
	return l.root.Chmod(filepath.FromSlash(name), p)
}

func (l *limited) chown(name string, uid, gid int) error {
	return l.root.Chown(filepath.FromSlash(name), uid, gid)
}

func (l *limited) chtimes(name string, atime, mtime time.Time) error {
	return l.root.Chtimes(filepath.FromSlash(name), atime, mtime)
}

// realpath does not look at the files: it answers for names that are not granted, too.
func (l *limited) realpath(name string) (string, error) { return path.Join(l.prefix, name), nil }

func (l *limited) close() { l.root.Close() }
