package sftp

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/windows"
)

const openFlags = 0

// local makes "C:\x" of the "/C:/x" that clients see.
func local(p string) string {
	if len(p) >= 3 && p[0] == '/' && p[2] == ':' {
		if p = p[1:]; len(p) == 2 {
			p += "/" // "C:" alone is a drive's current folder
		}
	}
	return filepath.FromSlash(p)
}

// remote makes "/C:/x" of "C:\x".
func remote(p string) string {
	p = filepath.ToSlash(p)
	if len(p) >= 2 && p[1] == ':' {
		p = "/" + p
	}
	return p
}

// isTop reports whether a name is that of what lies above the drives.
func isTop(name string) bool {
	name = filepath.ToSlash(name)
	return path.IsAbs(name) && path.Clean(name) == "/"
}

// drives are the folders of "/". What an empty one holds is asked when somebody goes there.
func drives() (all []named) {
	mask, err := windows.GetLogicalDrives()
	if err != nil {
		return nil
	}
	for i := range 26 {
		if mask&(1<<i) != 0 {
			all = append(all, named{string(rune('A'+i)) + ":", attrs{has: attrMode, mode: modeFolder | 0o755, links: 1}})
		}
	}
	return all
}

func samePath(a, b string) bool { return strings.EqualFold(a, b) }

func attrsOf(fi os.FileInfo) attrs {
	if fi == nil {
		return attrs{}
	}
	mode := uint32(fi.Mode().Perm())
	switch {
	case fi.IsDir():
		mode |= modeFolder
	case fi.Mode()&fs.ModeSymlink != 0:
		mode |= modeLink
	default:
		mode |= modeFile
	}
	t := uint32(fi.ModTime().Unix())
	return attrs{has: attrSize | attrMode | attrTimes, size: uint64(fi.Size()), mode: mode, atime: t, mtime: t, links: 1}
}

func entry(dir *os.File, name string) (attrs, error) {
	fi, err := os.Lstat(filepath.Join(dir.Name(), name))
	return attrsOf(fi), err
}

func removeAt(_ *os.File, name string, folder bool) error {
	p, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return err
	}
	if folder {
		return windows.RemoveDirectory(p)
	}
	return windows.DeleteFile(p)
}

func renameAt(_ *os.File, from string, _ *os.File, to string, replace bool) error {
	if !replace {
		if _, err := os.Lstat(to); err == nil {
			return fs.ErrExist
		}
	}
	return os.Rename(from, to)
}

func lsetAt(*os.File, string, attrs) error { return errUnsupported }

func setTimes(f *os.File, a attrs) error {
	at, mt := windows.NsecToFiletime(a.accessed().UnixNano()), windows.NsecToFiletime(a.modified().UnixNano())
	return windows.SetFileTime(windows.Handle(f.Fd()), nil, &at, &mt)
}

func (l *limited) remove(name string, folder bool) error {
	fi, err := l.root.Lstat(filepath.FromSlash(name))
	switch {
	case err != nil:
		return err
	case name == "." || fi.IsDir() != folder:
		return errors.New("that is not what it is")
	}
	return l.root.Remove(filepath.FromSlash(name))
}

func (l *limited) rename(from, to string, replace bool) error {
	if _, err := l.root.Lstat(filepath.FromSlash(to)); err == nil && !replace {
		return fs.ErrExist
	}
	return l.root.Rename(filepath.FromSlash(from), filepath.FromSlash(to))
}

func (l *limited) lset(name string, a attrs) error {
	if a.has&attrTimes != 0 {
		return l.root.Chtimes(filepath.FromSlash(name), time.Unix(int64(a.atime), 0), time.Unix(int64(a.mtime), 0))
	}
	return errUnsupported
}

func (l *limited) statfs(string) (fsStat, error) { return fsStat{}, errUnsupported }

func statfsPath(string) (fsStat, error)   { return fsStat{}, errUnsupported }
func statfsFile(*os.File) (fsStat, error) { return fsStat{}, errUnsupported }
