package sftp

import (
	"fmt"
	"strings"
	"time"
)

// Which attributes are there (draft-ietf-secsh-filexfer-02 §5).
const (
	attrSize     = 1
	attrOwner    = 2
	attrMode     = 4
	attrTimes    = 8
	attrExtended = 1 << 31
)

// attrs of a file. mode is as in stat(2), with the kind of file.
type attrs struct {
	has          uint32
	size         uint64
	uid, gid     uint32
	mode         uint32
	atime, mtime uint32 // seconds since 1970
	links        uint64 // for ls only
}

// all is what is known of a file that is there.
const allAttrs = attrSize | attrOwner | attrMode | attrTimes

func (f *fields) attrs() (a attrs) {
	a.has = f.uint32()
	if a.has&attrSize != 0 {
		a.size = f.uint64()
	}
	if a.has&attrOwner != 0 {
		a.uid, a.gid = f.uint32(), f.uint32()
	}
	if a.has&attrMode != 0 {
		a.mode = f.uint32()
	}
	if a.has&attrTimes != 0 {
		a.atime, a.mtime = f.uint32(), f.uint32()
	}
	if a.has&attrExtended != 0 {
		for n := f.uint32(); n > 0 && f.err == nil; n-- {
			f.bytes()
			f.bytes()
		}
	}
	return a
}

func (r reply) attrs(a attrs) {
	r.uint32(a.has)
	if a.has&attrSize != 0 {
		r.uint64(a.size)
	}
	if a.has&attrOwner != 0 {
		r.uint32(a.uid)
		r.uint32(a.gid)
	}
	if a.has&attrMode != 0 {
		r.uint32(a.mode)
	}
	if a.has&attrTimes != 0 {
		r.uint32(a.atime)
		r.uint32(a.mtime)
	}
}

// perm is what a client may set: set-uid, set-gid and sticky bits would let a program run with others' rights, and a
// rule may grant files without granting programs.
func (a attrs) perm() uint32 { return a.mode & 0o777 }

func (a attrs) accessed() time.Time { return time.Unix(int64(a.atime), 0) }
func (a attrs) modified() time.Time { return time.Unix(int64(a.mtime), 0) }

// Kinds of files in a mode (stat(2)); the same numbers on every system.
const (
	modeKind   = 0o170000
	modeFIFO   = 0o010000
	modeChar   = 0o020000
	modeFolder = 0o040000
	modeBlock  = 0o060000
	modeFile   = 0o100000
	modeLink   = 0o120000
	modeSocket = 0o140000
)

// modeText is what ls shows of a mode.
func modeText(m uint32) string {
	kind := map[uint32]byte{
		modeFIFO: 'p', modeChar: 'c', modeFolder: 'd', modeBlock: 'b', modeFile: '-', modeLink: 'l', modeSocket: 's',
	}[m&modeKind]
	if kind == 0 {
		kind = '?'
	}
	b := []byte{kind}
	for i := 8; i >= 0; i-- {
		c := byte('-')
		if m&(1<<i) != 0 {
			c = "xwr"[i%3]
		}
		b = append(b, c)
	}
	special := func(bit uint32, at int, with, without byte) {
		switch {
		case m&bit == 0:
		case b[at] == 'x':
			b[at] = with
		default:
			b[at] = without
		}
	}
	special(0o4000, 3, 's', 'S')
	special(0o2000, 6, 's', 'S')
	special(0o1000, 9, 't', 'T')
	return string(b)
}

// longName is a line of ls -l as OpenSSH's server writes it; clients that show listings show it as it is.
func (s *server) longName(name string, a attrs, now time.Time) string {
	t := a.modified()
	when := t.Format("Jan _2  2006")
	if age := now.Sub(t); age >= 0 && age < 365*24*time.Hour/2 {
		when = t.Format("Jan _2 15:04")
	}
	return fmt.Sprintf("%s  %3d %-8s %-8s %8d %s %s", modeText(a.mode), a.links, s.names.user(a.uid), s.names.group(a.gid), a.size, when, name)
}

// names remembers the names of accounts and groups.
type names struct {
	users, groups map[uint32]string
}

func newNames() *names { return &names{users: map[uint32]string{}, groups: map[uint32]string{}} }

func lookup(known map[uint32]string, id uint32, find func(string) (string, error)) string {
	n, ok := known[id]
	if !ok {
		n, _ = find(fmt.Sprint(id))
		known[id] = n
	}
	return n
}

// user is the name, or the number where it has none.
func (n *names) user(uid uint32) string  { return orNumber(lookup(n.users, uid, userName), uid) }
func (n *names) group(gid uint32) string { return orNumber(lookup(n.groups, gid, groupName), gid) }

func orNumber(name string, id uint32) string {
	if name == "" || strings.ContainsAny(name, "\n\x00") {
		return fmt.Sprint(id)
	}
	return name
}
