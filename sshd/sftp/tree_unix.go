//go:build unix

package sftp

import (
	"os"
	"path"
	"syscall"

	"golang.org/x/sys/unix"
)

// openFlags: a terminal that is opened does not become the server's own.
const openFlags = unix.O_NOCTTY

// Names are the same on both sides.
func local(p string) string  { return p }
func remote(p string) string { return p }

// isTop is for systems with drives.
func isTop(string) bool { return false }

func drives() []named { return nil }

func samePath(a, b string) bool { return a == b }

// attrsOf reads what os.Stat and os.Root.Stat found; fi may be nil.
func attrsOf(fi os.FileInfo) attrs {
	if fi == nil {
		return attrs{}
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return attrs{}
	}
	return attrs{
		has: allAttrs, size: uint64(st.Size), uid: st.Uid, gid: st.Gid,
		mode:  uint32(st.Mode), //nolint:unconvert // its width differs between systems
		atime: accessTime(st), mtime: uint32(fi.ModTime().Unix()),
		links: uint64(st.Nlink), //nolint:unconvert // its width differs between systems
	}
}

// entry looks at one name in an open folder. (*os.File).Readdir would look it up by the folder's path again.
func entry(dir *os.File, name string) (attrs, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return attrs{}, err
	}
	return attrs{
		has: allAttrs, size: uint64(st.Size), uid: st.Uid, gid: st.Gid,
		mode:  uint32(st.Mode), //nolint:unconvert // its width differs between systems
		atime: uint32(st.Atim.Sec), mtime: uint32(st.Mtim.Sec),
		links: uint64(st.Nlink), //nolint:unconvert // its width differs between systems
	}, nil
}

// at is the descriptor of a folder, or what stands for "by path".
func at(dir *os.File) int {
	if dir == nil {
		return unix.AT_FDCWD
	}
	return int(dir.Fd())
}

func removeAt(dir *os.File, name string, folder bool) error {
	flags := 0
	if folder {
		flags = unix.AT_REMOVEDIR
	}
	return unix.Unlinkat(at(dir), name, flags)
}

func renameAt(fromDir *os.File, from string, toDir *os.File, to string, replace bool) error {
	if replace {
		return unix.Renameat(at(fromDir), from, at(toDir), to)
	}
	return renameNew(at(fromDir), from, at(toDir), to)
}

// renameIfFree is for systems and file systems that cannot refuse to replace by themselves.
func renameIfFree(fromDir int, from string, toDir int, to string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(toDir, to, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil {
		return unix.EEXIST
	}
	return unix.Renameat(fromDir, from, toDir, to)
}

// lsetAt does what lsetstat@openssh.com asks for, and the last of what failed tells.
func lsetAt(dir *os.File, name string, a attrs) (err error) {
	note := func(e error) {
		if e != nil {
			err = e
		}
	}
	if a.has&attrMode != 0 {
		note(unix.Fchmodat(at(dir), name, a.perm(), unix.AT_SYMLINK_NOFOLLOW))
	}
	if a.has&attrTimes != 0 {
		note(unix.UtimesNanoAt(at(dir), name, []unix.Timespec{
			unix.NsecToTimespec(a.accessed().UnixNano()), unix.NsecToTimespec(a.modified().UnixNano()),
		}, unix.AT_SYMLINK_NOFOLLOW))
	}
	if a.has&attrOwner != 0 {
		note(unix.Fchownat(at(dir), name, int(a.uid), int(a.gid), unix.AT_SYMLINK_NOFOLLOW))
	}
	return err
}

func setTimes(f *os.File, a attrs) error {
	return unix.Futimes(int(f.Fd()), []unix.Timeval{
		unix.NsecToTimeval(a.accessed().UnixNano()), unix.NsecToTimeval(a.modified().UnixNano()),
	})
}

// in opens the folder that a name lies in, for what os.Root has no call for.
func (l *limited) in(name string) (dir *os.File, base string, err error) {
	if name == "." {
		return nil, "", unix.EINVAL // the granted folder itself stays
	}
	dir, err = l.root.OpenFile(path.Dir(name), searchFlags|unix.O_DIRECTORY, 0)
	return dir, path.Base(name), err
}

func (l *limited) remove(name string, folder bool) error {
	dir, base, err := l.in(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return removeAt(dir, base, folder)
}

func (l *limited) rename(from, to string, replace bool) error {
	fromDir, fromBase, err := l.in(from)
	if err != nil {
		return err
	}
	defer fromDir.Close()
	toDir, toBase, err := l.in(to)
	if err != nil {
		return err
	}
	defer toDir.Close()
	return renameAt(fromDir, fromBase, toDir, toBase, replace)
}

func (l *limited) lset(name string, a attrs) error {
	dir, base, err := l.in(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return lsetAt(dir, base, a)
}

func (l *limited) statfs(name string) (fsStat, error) {
	if _, err := l.root.Stat(name); err != nil { // O_PATH opens links themselves
		return fsStat{}, err
	}
	f, err := l.root.OpenFile(name, searchFlags|unix.O_NONBLOCK, 0)
	if err != nil {
		return fsStat{}, err
	}
	defer f.Close()
	return statfsFile(f)
}

func statfsPath(name string) (fsStat, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(name, &st); err != nil {
		return fsStat{}, err
	}
	return fsStatOf(&st), nil
}

func statfsFile(f *os.File) (fsStat, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return fsStat{}, err
	}
	return fsStatOf(&st), nil
}
