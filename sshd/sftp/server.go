package sftp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

const (
	// inSize holds the longest packet and what came with it; outSize is when replies are written at the latest.
	inSize  = 2 * maxPacket
	outSize = maxPacket
	// maxHandles are open at a time; OpenSSH's server takes as many as the system lets it have descriptors.
	maxHandles = 1000
	// pageNames is how many names of a folder one reply carries (OpenSSH: 100).
	pageNames = 100
)

// server answers one client.
type server struct {
	roots   *roots
	names   *names
	events  *events
	handles map[uint32]*handle
	begun   bool // the versions were exchanged
	home    string

	to  io.Writer
	out []byte // replies not written yet
}

// handle is an open file or folder.
type handle struct {
	file     *os.File // nil: the drives
	path     string   // as the client named it, made absolute
	folder   bool
	listed   bool // the first names were sent
	appends  bool
	read     bool
	write    bool
	got, put int64 // bytes read and written
}

func newServer(to, tell io.Writer, home string, grants []Grant) *server {
	s := &server{
		roots: newRoots(home, grants), names: newNames(), events: &events{to: tell}, handles: map[uint32]*handle{},
		home: home, to: to,
	}
	if me := os.Getenv("USER"); me != "" && os.Getuid() >= 0 {
		s.names.users[uint32(os.Getuid())] = me // whatever directory knows it
	}
	return s
}

// close closes what the client left open.
func (s *server) close() {
	for id := range s.handles {
		_ = s.closeHandle(id)
	}
	s.events.flush()
	s.roots.close()
}

// serve answers requests until the client has no more. Replies go out when no request is left, or when they are many.
func (s *server) serve(from io.Reader) error {
	in := make([]byte, inSize)
	var r, w int
	for {
		for w-r >= 4 {
			n := int(binary.BigEndian.Uint32(in[r:]))
			if n > maxPacket {
				return errTooLong
			}
			if n < 1 {
				return errShort
			}
			if w-r < 4+n {
				break
			}
			if err := s.handle(in[r+4 : r+4+n]); err != nil {
				return errors.Join(err, s.flush())
			}
			r += 4 + n
			if len(s.out) >= outSize {
				if err := s.flush(); err != nil {
					return err
				}
			}
		}
		if err := s.flush(); err != nil {
			return err
		}
		if w = copy(in, in[r:w]); w == len(in) {
			return errTooLong
		}
		r = 0
		n, err := from.Read(in[w:])
		w += n
		if err == io.EOF && w == 0 {
			return nil
		}
		if err == io.EOF && n == 0 {
			return io.ErrUnexpectedEOF
		}
		if err != nil && n == 0 {
			return err
		}
	}
}

// flush writes the replies. What they tell was recorded before.
func (s *server) flush() error {
	s.events.flush()
	if len(s.out) == 0 {
		return nil
	}
	_, err := s.to.Write(s.out)
	s.out = s.out[:0]
	return err
}

// handle answers one packet. Its error ends the connection; what a client may well do wrong is a status.
func (s *server) handle(packet []byte) error {
	f := &fields{b: packet}
	kind := f.byte()
	if kind == fxpInit {
		f.uint32() // the client's version; what it does not understand it does not use
		if s.begun || f.err != nil {
			return errors.New("the client began twice or wrongly")
		}
		s.begun = true
		s.greet()
		return nil
	}
	if !s.begun {
		return errors.New("the client did not begin with its version")
	}
	id := f.uint32()
	if f.err != nil {
		return f.err
	}
	answered, err := s.request(kind, id, f)
	if f.err != nil {
		return fmt.Errorf("packet %d: %w", kind, f.err)
	}
	if !answered || err != nil {
		s.status(id, err)
	}
	return nil
}

// request does what a packet asks for. Where it does not answer itself, err is the status. Nothing is done of a packet
// that is cut short.
func (s *server) request(kind byte, id uint32, f *fields) (answered bool, err error) {
	switch kind {
	case fxpOpen:
		return s.open(id, f)
	case fxpClose:
		h, ok := f.handle()
		if f.err == nil && ok {
			return false, s.closeHandle(h)
		}
		return false, syscall.EBADF
	case fxpRead:
		return s.read(id, f)
	case fxpWrite:
		return false, s.write(f)
	case fxpStat, fxpLstat:
		return s.stat(id, f, kind == fxpLstat)
	case fxpFstat:
		return s.fstat(id, f)
	case fxpSetstat:
		return false, s.setstat(f)
	case fxpFsetstat:
		return false, s.fsetstat(f)
	case fxpOpendir:
		return s.openFolder(id, f)
	case fxpReaddir:
		return s.list(id, f)
	case fxpRemove, fxpRmdir:
		return false, s.remove(f, kind == fxpRmdir)
	case fxpMkdir:
		return false, s.mkdir(f)
	case fxpRealpath:
		name := f.string()
		if f.err != nil {
			return false, f.err
		}
		return s.realpath(id, name)
	case fxpRename:
		return false, s.rename(f, false)
	case fxpReadlink:
		return s.readlink(id, f)
	case fxpSymlink:
		return false, s.symlink(f)
	case fxpExtended:
		return s.extended(id, f)
	}
	return false, errUnsupported
}

// handle reads a handle, which is a number of ours.
func (f *fields) handle() (id uint32, ok bool) {
	b := f.bytes()
	if len(b) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(b), true
}

// file reads a handle and returns what it stands for.
func (s *server) file(f *fields) (*handle, error) {
	id, ok := f.handle()
	if h := s.handles[id]; ok && h != nil {
		return h, nil
	}
	return nil, errBadHandle
}

func (s *server) newHandle(id uint32, h *handle) {
	var n uint32
	for s.handles[n] != nil {
		n++
	}
	s.handles[n] = h
	r := s.reply(fxpHandle, id)
	r.uint32(4)
	r.uint32(n)
	r.end()
}

func (s *server) closeHandle(id uint32) error {
	h := s.handles[id]
	if h == nil {
		return syscall.EBADF // a status of its own, as with OpenSSH
	}
	delete(s.handles, id)
	if h.file == nil {
		return nil
	}
	if !h.folder {
		s.events.add(Event{Op: OpClose, Path: h.path, Read: h.read, Write: h.write, Out: h.got, In: h.put})
	}
	return h.file.Close()
}

func (s *server) now() time.Time { return time.Now() }
