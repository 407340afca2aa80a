package sftp

import (
	"errors"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// tree is files that operations reach by name: all of the system, or those below one folder.
type tree interface {
	open(name string, flag int, perm os.FileMode) (*os.File, error)
	stat(name string) (attrs, error)
	lstat(name string) (attrs, error)
	mkdir(name string, perm os.FileMode) error
	// remove removes a folder, or whatever is none.
	remove(name string, folder bool) error
	// rename replaces what is there under the new name only if it is told to.
	rename(from, to string, replace bool) error
	link(from, to string) error
	symlink(target, name string) error
	readlink(name string) (string, error)
	chmod(name string, perm os.FileMode) error
	chown(name string, uid, gid int) error
	chtimes(name string, atime, mtime time.Time) error
	// lset changes a link itself.
	lset(name string, a attrs) error
	realpath(name string) (string, error)
	statfs(name string) (fsStat, error)
	close()
}

// fsStat is struct statvfs of POSIX, as statvfs@openssh.com carries it.
type fsStat struct {
	bsize, frsize, blocks, bfree, bavail, files, ffree, favail, fsid, flag, namemax uint64
}

// root is one granted folder.
type root struct {
	prefix string // absolute and clean, with slashes
	write  bool
	files  tree // nil until it is first used
}

// roots are the granted folders, the widest first.
type roots struct {
	list  []root
	start string // where relative names begin
}

func newRoots(home string, grants []Grant) *roots {
	r := &roots{start: path.Join("/", remote(home))}
	for _, g := range grants {
		p := path.Clean(g.Path)
		if !path.IsAbs(p) {
			continue
		}
		r.list = append(r.list, root{prefix: p, write: g.Write})
	}
	slices.SortStableFunc(r.list, func(a, b root) int { return len(a.prefix) - len(b.prefix) })
	// What a wider folder grants already is no folder of its own: links within the wider one keep leading anywhere in it.
	var kept []root
	for _, x := range r.list {
		if !slices.ContainsFunc(kept, func(y root) bool {
			_, in := below(y.prefix, x.prefix)
			return in && (y.write || !x.write)
		}) {
			kept = append(kept, x)
		}
	}
	r.list = kept
	if _, _, err := r.find(r.start, false); errors.Is(err, errOutside) && len(r.list) > 0 {
		r.start = r.list[0].prefix
	}
	return r
}

// whole reports whether there is one root and it is everything: then names go to the system as they came.
func (r *roots) whole() bool { return len(r.list) == 1 && r.list[0].prefix == Everything }

// find returns the tree that grants the operation, and the name in it.
func (r *roots) find(name string, write bool) (tree, string, error) {
	if r.whole() {
		if write && !r.list[0].write {
			return nil, "", errOutside
		}
		if name == "" {
			name = "."
		}
		return r.list[0].tree(), name, nil
	}
	abs := r.abs(name)
	for i := range r.list {
		rel, ok := below(r.list[i].prefix, abs)
		if !ok || write && !r.list[i].write {
			continue
		}
		t := r.list[i].tree()
		if t == nil {
			return nil, "", os.ErrNotExist
		}
		if r.list[i].prefix == Everything {
			rel = abs
		}
		return t, rel, nil
	}
	return nil, "", errOutside
}

// abs is the clean absolute form of a name of the client's. With limits, ".." counts before links do.
func (r *roots) abs(name string) string {
	if !path.IsAbs(name) {
		name = r.start + "/" + name
	}
	return path.Clean(name)
}

// tree opens the folder when it is first needed: it may be made later.
func (x *root) tree() tree {
	if x.files != nil {
		return x.files
	}
	if x.prefix == Everything {
		x.files = whole{}
		return x.files
	}
	r, err := os.OpenRoot(local(x.prefix))
	if err != nil {
		return nil
	}
	x.files = &limited{root: r, prefix: x.prefix}
	return x.files
}

func (r *roots) close() {
	for _, x := range r.list {
		if x.files != nil {
			x.files.close()
		}
	}
}

// below returns what leads from prefix to p, both absolute and clean.
func below(prefix, p string) (rel string, ok bool) {
	if samePath(prefix, p) {
		return ".", true
	}
	if prefix != "/" {
		prefix += "/"
	}
	if len(p) < len(prefix) || !samePath(p[:len(prefix)], prefix) {
		return "", false
	}
	return strings.TrimPrefix(p[len(prefix):], "/"), true
}
