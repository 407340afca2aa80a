package sftp

import (
	"encoding/binary"
	"errors"
	"io"
	"path"
	"strings"
	"syscall"
)

// extensions are those of OpenSSH's PROTOCOL file, with their versions, in its order.
func extensions() [][2]string {
	return [][2]string{
		{"posix-rename@openssh.com", "1"},
		{"statvfs@openssh.com", "2"},
		{"fstatvfs@openssh.com", "2"},
		{"hardlink@openssh.com", "1"},
		{"fsync@openssh.com", "1"},
		{"lsetstat@openssh.com", "1"},
		{"limits@openssh.com", "1"},
		{"expand-path@openssh.com", "1"},
		{"copy-data", "1"},
		{"home-directory", "1"},
		{"users-groups-by-id@openssh.com", "1"},
	}
}

// greet tells version and extensions.
func (s *server) greet() {
	r := s.reply(fxpVersion, version) // where other packets have their id
	for _, e := range extensions() {
		r.string(e[0])
		r.string(e[1])
	}
	r.end()
}

func (s *server) extended(id uint32, f *fields) (bool, error) {
	name := f.string()
	if f.err != nil {
		return false, f.err
	}
	switch name {
	case "posix-rename@openssh.com":
		return false, s.rename(f, true)
	case "hardlink@openssh.com":
		return false, s.hardlink(f)
	case "statvfs@openssh.com":
		return s.statvfs(id, f)
	case "fstatvfs@openssh.com":
		h, err := s.file(f)
		if err := f.whole(err); err != nil {
			return false, err
		}
		st, err := statfsFile(h.file)
		return s.answerStatvfs(id, st, err)
	case "fsync@openssh.com":
		h, err := s.file(f)
		if f.err != nil || err != nil {
			return false, syscall.EBADF
		}
		return false, h.file.Sync()
	case "lsetstat@openssh.com":
		return false, s.lsetstat(f)
	case "limits@openssh.com":
		r := s.reply(fxpExtendedReply, id)
		r.uint64(maxPacket)
		r.uint64(maxData)
		r.uint64(maxData)
		r.uint64(maxHandles)
		r.end()
		return true, nil
	case "expand-path@openssh.com":
		p := f.string()
		if f.err != nil {
			return false, f.err
		}
		full, err := s.expandPath(p)
		if err != nil {
			return false, err
		}
		return s.realpath(id, full)
	case "home-directory":
		user := f.string()
		if f.err != nil {
			return false, f.err
		}
		home, err := s.homeOf(user)
		if err != nil {
			return false, err
		}
		s.answerNames(id, []named{{name: home}})
		return true, nil
	case "copy-data":
		return false, s.copyData(f)
	case "users-groups-by-id@openssh.com":
		return s.usersGroups(id, f)
	}
	return false, errUnsupported
}

func (s *server) hardlink(f *fields) error {
	from, to := f.string(), f.string()
	t, a, b, err := s.both(f, from, to)
	if err != nil {
		return err
	}
	if err := t.link(a, b); err != nil {
		return err
	}
	s.changed(OpLink, from, to)
	return nil
}

func (s *server) statvfs(id uint32, f *fields) (bool, error) {
	name := f.string()
	t, rel, err := s.find(f, name, false)
	if err != nil {
		return false, err
	}
	st, err := t.statfs(rel)
	return s.answerStatvfs(id, st, err)
}

func (s *server) answerStatvfs(id uint32, st fsStat, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	r := s.reply(fxpExtendedReply, id)
	for _, v := range []uint64{
		st.bsize, st.frsize, st.blocks, st.bfree, st.bavail, st.files, st.ffree, st.favail, st.fsid, st.flag, st.namemax,
	} {
		r.uint64(v)
	}
	r.end()
	return true, nil
}

func (s *server) lsetstat(f *fields) error {
	name, a := f.string(), f.attrs()
	if f.err != nil {
		return f.err
	}
	if a.has&attrSize != 0 {
		return badMessage // a link has no size to set
	}
	t, rel, err := s.find(f, name, true)
	if err != nil {
		return err
	}
	if err := t.lset(rel, a); err != nil {
		return err
	}
	if a.has&(attrMode|attrOwner) != 0 {
		s.changed(OpMode, name, "")
	}
	return nil
}

// expandPath replaces "~" and "~user" by a home.
func (s *server) expandPath(p string) (string, error) {
	if !strings.HasPrefix(p, "~") {
		return p, nil
	}
	user, rest, _ := strings.Cut(p[1:], "/")
	home, err := s.homeOf(user)
	if err != nil {
		return "", err
	}
	return path.Join(home, rest), nil
}

// homeOf is the home of a user, "" being the one whose session this is.
func (s *server) homeOf(user string) (string, error) {
	if user == "" {
		if !s.roots.whole() {
			return s.roots.start, nil // the home, or what the rule grants instead
		}
		return remote(s.home), nil
	}
	return userHome(user)
}

// copyChunk is how much copy-data moves at a time.
const copyChunk = 256 << 10

// copyData copies between two open files, or within one, without the bytes crossing the network.
func (s *server) copyData(f *fields) error {
	from, err := s.file(f)
	off, n := f.uint64(), f.uint64()
	to, err2 := s.file(f)
	at := f.uint64()
	if err := f.whole(errors.Join(err, err2)); err != nil {
		return err
	}
	if from == to && (n == 0 || off < at+n && at < off+n) {
		return badMessage // ranges that overlap
	}
	buf := make([]byte, copyChunk)
	for all := n == 0; all || n > 0; {
		want := len(buf)
		if !all {
			want = int(min(uint64(want), n))
		}
		got, err := from.file.ReadAt(buf[:want], int64(off))
		if got > 0 {
			if _, err := to.writeAt(buf[:got], int64(at)); err != nil {
				return err
			}
			from.got, to.put = from.got+int64(got), to.put+int64(got)
			off, at, n = off+uint64(got), at+uint64(got), n-min(n, uint64(got))
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// maxIDs is how many names one request may ask for.
const maxIDs = 4096

func (s *server) usersGroups(id uint32, f *fields) (bool, error) {
	uids, gids := f.bytes(), f.bytes()
	if f.err != nil {
		return false, f.err
	}
	if len(uids)%4 != 0 || len(gids)%4 != 0 || len(uids)+len(gids) > 4*maxIDs {
		return false, badMessage
	}
	r := s.reply(fxpExtendedReply, id)
	for _, list := range []struct {
		ids   []byte
		known map[uint32]string
		find  func(string) (string, error)
	}{{uids, s.names.users, userName}, {gids, s.names.groups, groupName}} {
		var packed []byte
		for b := list.ids; len(b) > 0; b = b[4:] {
			name := lookup(list.known, binary.BigEndian.Uint32(b), list.find)
			packed = binary.BigEndian.AppendUint32(packed, uint32(len(name)))
			packed = append(packed, name...)
		}
		r.string(string(packed))
	}
	r.end()
	return true, nil
}
