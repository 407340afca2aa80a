package sftp

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
)

// find returns where a name of a packet leads, once the packet was read to its end and is whole. It records when the
// rule does not grant it.
func (s *server) find(f *fields, name string, write bool) (tree, string, error) {
	if f.err != nil {
		return nil, "", f.err
	}
	t, rel, err := s.roots.find(name, write)
	if errors.Is(err, errOutside) {
		s.refused(name, write)
	}
	return t, rel, err
}

func (s *server) refused(name string, write bool) {
	s.events.add(Event{Op: OpRefused, Path: s.roots.abs(name), Read: !write, Write: write})
}

// changed records a change that was made.
func (s *server) changed(op Op, name, to string) {
	e := Event{Op: op, Path: s.roots.abs(name)}
	if to != "" {
		e.To = s.roots.abs(to)
	}
	s.events.add(e)
}

// openFlag is OpenSSH's reading of an open's flags (flags_from_portable).
func openFlag(flags uint32) int {
	f := os.O_RDONLY
	switch {
	case flags&flagRead != 0 && flags&flagWrite != 0:
		f = os.O_RDWR
	case flags&flagWrite != 0:
		f = os.O_WRONLY
	}
	if flags&flagAppend != 0 {
		f |= os.O_APPEND
	}
	if flags&flagCreate != 0 {
		f |= os.O_CREATE
	}
	if flags&flagTrunc != 0 {
		f |= os.O_TRUNC
	}
	if flags&flagExcl != 0 {
		f |= os.O_EXCL
	}
	return f
}

func (s *server) open(id uint32, f *fields) (bool, error) {
	name := f.string()
	flags := f.uint32()
	a := f.attrs()
	changes := flags&(flagWrite|flagCreate|flagTrunc|flagAppend) != 0
	t, rel, err := s.find(f, name, changes)
	if err != nil {
		return false, err
	}
	if len(s.handles) >= maxHandles {
		return false, errors.New("too many open files")
	}
	perm := os.FileMode(0o666)
	if a.has&attrMode != 0 {
		perm = os.FileMode(a.perm())
	}
	file, err := t.open(rel, openFlag(flags), perm)
	if err != nil {
		return false, err
	}
	h := &handle{
		file: file, path: s.roots.abs(name), appends: flags&flagAppend != 0,
		read: flags&flagRead != 0 || flags&flagWrite == 0, write: changes,
	}
	s.events.add(Event{Op: OpOpen, Path: h.path, Read: h.read, Write: h.write})
	s.newHandle(id, h)
	return true, nil
}

// read puts the file's bytes where they go out from.
func (s *server) read(id uint32, f *fields) (bool, error) {
	h, err := s.file(f)
	off, n := f.uint64(), f.uint32()
	if err := f.whole(err); err != nil {
		return false, err
	}
	n = min(n, maxData)
	begin := len(s.out)
	r := s.reply(fxpData, id)
	r.uint32(0)
	at := len(s.out)
	s.out = slices.Grow(s.out, int(n))
	got, err := h.file.ReadAt(s.out[at:at+int(n)], int64(off))
	if got == 0 && n > 0 {
		s.out = s.out[:begin]
		if err == nil {
			err = io.EOF
		}
		return false, err
	}
	h.got += int64(got)
	s.out = s.out[:at]
	r2 := s.out[at-4:]
	r2[0], r2[1], r2[2], r2[3] = byte(got>>24), byte(got>>16), byte(got>>8), byte(got)
	s.out = s.out[:at+got]
	r.end()
	return true, nil
}

func (s *server) write(f *fields) error {
	h, err := s.file(f)
	off, b := f.uint64(), f.bytes()
	if err := f.whole(err); err != nil {
		return err
	}
	n, err := h.writeAt(b, int64(off))
	h.put += int64(n)
	return err
}

// writeAt writes at the end of a file that was opened for appending: clients name offsets even then.
func (h *handle) writeAt(b []byte, off int64) (int, error) {
	if h.appends {
		return h.file.Write(b)
	}
	return h.file.WriteAt(b, off)
}

func (s *server) answerAttrs(id uint32, a attrs, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	r := s.reply(fxpAttrs, id)
	r.attrs(a)
	r.end()
	return true, nil
}

func (s *server) stat(id uint32, f *fields, link bool) (bool, error) {
	name := f.string()
	t, rel, err := s.find(f, name, false)
	if err != nil {
		return false, err
	}
	look := t.stat
	if link {
		look = t.lstat
	}
	a, err := look(rel)
	return s.answerAttrs(id, a, err)
}

func (s *server) fstat(id uint32, f *fields) (bool, error) {
	h, err := s.file(f)
	if err := f.whole(err); err != nil {
		return false, err
	}
	fi, err := h.file.Stat()
	return s.answerAttrs(id, attrsOf(fi), err)
}

// setstat changes all it is asked for; the last error counts, as with OpenSSH.
func (s *server) setstat(f *fields) (err error) {
	name, a := f.string(), f.attrs()
	t, rel, err := s.find(f, name, true)
	if err != nil {
		return err
	}
	return s.change(name, a, func() error {
		file, err := t.open(rel, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer file.Close()
		return file.Truncate(int64(a.size))
	}, func() error { return t.chmod(rel, os.FileMode(a.perm())) },
		func() error { return t.chtimes(rel, a.accessed(), a.modified()) },
		func() error { return t.chown(rel, int(a.uid), int(a.gid)) })
}

func (s *server) fsetstat(f *fields) error {
	h, err := s.file(f)
	a := f.attrs()
	if err := f.whole(err); err != nil {
		return err
	}
	if _, _, err := s.find(f, h.path, true); err != nil {
		return err
	}
	return s.change(h.path, a, func() error { return h.file.Truncate(int64(a.size)) },
		func() error { return h.file.Chmod(os.FileMode(a.perm())) },
		func() error { return setTimes(h.file, a) },
		func() error { return h.file.Chown(int(a.uid), int(a.gid)) })
}

// change does what a has, and records it: sizes, modes and owners, not times.
func (s *server) change(name string, a attrs, size, mode, times, owner func() error) (err error) {
	for _, do := range []struct {
		bit uint32
		f   func() error
		op  Op
	}{{attrSize, size, OpTruncate}, {attrMode, mode, OpMode}, {attrTimes, times, ""}, {attrOwner, owner, OpOwner}} {
		if a.has&do.bit == 0 {
			continue
		}
		if e := do.f(); e != nil {
			err = e
		} else if do.op != "" {
			s.changed(do.op, name, "")
		}
	}
	return err
}

func (s *server) openFolder(id uint32, f *fields) (bool, error) {
	name := f.string()
	t, rel, err := s.find(f, name, false)
	if err != nil {
		return false, err
	}
	if len(s.handles) >= maxHandles {
		return false, errors.New("too many open files")
	}
	if t == (whole{}) && isTop(rel) {
		s.newHandle(id, &handle{path: "/", folder: true, read: true})
		return true, nil
	}
	// Looked at first: to open a device or a pipe does something.
	if a, err := t.stat(rel); err != nil {
		return false, err
	} else if a.mode&modeKind != modeFolder {
		return false, fs.ErrNotExist // ENOTDIR, as OpenSSH tells it
	}
	dir, err := t.open(rel, os.O_RDONLY, 0)
	if err != nil {
		return false, err
	}
	s.newHandle(id, &handle{file: dir, path: s.roots.abs(name), folder: true, read: true})
	return true, nil
}

// list sends the next names of a folder.
func (s *server) list(id uint32, f *fields) (bool, error) {
	h, err := s.file(f)
	if err := f.whole(err); err != nil {
		return false, err
	}
	if !h.folder {
		return false, errBadHandle
	}
	var found []named
	if h.file == nil {
		if h.listed {
			return false, io.EOF
		}
		h.listed = true
		s.answerNames(id, drives())
		return true, nil
	}
	if !h.listed {
		h.listed = true
		if fi, err := h.file.Stat(); err == nil {
			self := attrsOf(fi)
			up, err := entry(h.file, "..")
			if err != nil || !s.roots.whole() { // what lies around a granted folder is nobody's business
				up = self
			}
			found = append(found, named{".", self}, named{"..", up})
		}
	}
	for len(found) == 0 || len(found) == 2 {
		list, err := h.file.Readdirnames(pageNames)
		for _, n := range list {
			if a, err := entry(h.file, n); err == nil { // else it has gone meanwhile
				found = append(found, named{n, a})
			}
		}
		if err != nil || len(list) == 0 {
			if len(found) == 0 {
				if err == nil {
					err = io.EOF
				}
				return false, err
			}
			break
		}
	}
	s.answerNames(id, found)
	return true, nil
}

// named is a name with what is known of the file.
type named struct {
	name string
	attrs
}

func (s *server) answerNames(id uint32, list []named) {
	now := s.now()
	r := s.reply(fxpName, id)
	r.uint32(uint32(len(list)))
	for _, n := range list {
		long := n.name
		if n.has != 0 {
			long = s.longName(n.name, n.attrs, now)
		}
		r.string(n.name)
		r.string(long)
		r.attrs(n.attrs)
	}
	r.end()
}

func (s *server) remove(f *fields, folder bool) error {
	name := f.string()
	t, rel, err := s.find(f, name, true)
	if err != nil {
		return err
	}
	if err := t.remove(rel, folder); err != nil {
		return err
	}
	if folder {
		s.changed(OpRmdir, name, "")
	} else {
		s.changed(OpRemove, name, "")
	}
	return nil
}

func (s *server) mkdir(f *fields) error {
	name, a := f.string(), f.attrs()
	t, rel, err := s.find(f, name, true)
	if err != nil {
		return err
	}
	perm := os.FileMode(0o777)
	if a.has&attrMode != 0 {
		perm = os.FileMode(a.perm())
	}
	if err := t.mkdir(rel, perm); err != nil {
		return err
	}
	s.changed(OpMkdir, name, "")
	return nil
}

func (s *server) realpath(id uint32, name string) (bool, error) {
	t, rel, err := s.roots.find(name, false) // a mere question is not recorded
	if err != nil {
		return false, err
	}
	p, err := t.realpath(rel)
	if err != nil {
		return false, err
	}
	s.answerNames(id, []named{{name: p}})
	return true, nil
}

// both finds two names in one tree that may be written: a file of a folder that may only be read must not become
// one of a folder that may be written, under whatever name.
func (s *server) both(f *fields, from, to string) (t tree, a, b string, err error) {
	t, a, err = s.find(f, from, true)
	if err != nil {
		return nil, "", "", err
	}
	u, b, err := s.find(f, to, true)
	if err != nil {
		return nil, "", "", err
	}
	if t != u {
		return nil, "", "", errors.New("not from one granted folder to another")
	}
	return t, a, b, nil
}

func (s *server) rename(f *fields, replace bool) error {
	from, to := f.string(), f.string()
	t, a, b, err := s.both(f, from, to)
	if err != nil {
		return err
	}
	if err := t.rename(a, b, replace); err != nil {
		return err
	}
	s.changed(OpRename, from, to)
	return nil
}

func (s *server) readlink(id uint32, f *fields) (bool, error) {
	name := f.string()
	t, rel, err := s.find(f, name, false)
	if err != nil {
		return false, err
	}
	to, err := t.readlink(rel)
	if err != nil {
		return false, err
	}
	s.answerNames(id, []named{{name: to}})
	return true, nil
}

// symlink takes its arguments in OpenSSH's order, target first; the draft has the other.
func (s *server) symlink(f *fields) error {
	target, name := f.string(), f.string()
	t, rel, err := s.find(f, name, true)
	if err != nil {
		return err
	}
	if err := t.symlink(target, rel); err != nil {
		if errors.Is(err, errOutside) {
			s.refused(target, true)
		}
		return err
	}
	s.events.add(Event{Op: OpSymlink, Path: s.roots.abs(name), To: target})
	return nil
}
