package sftp

import (
	"cmp"
	"encoding/binary"
	"errors"
)

// Types of packets (draft-ietf-secsh-filexfer-02 §3).
const (
	fxpInit          = 1
	fxpVersion       = 2
	fxpOpen          = 3
	fxpClose         = 4
	fxpRead          = 5
	fxpWrite         = 6
	fxpLstat         = 7
	fxpFstat         = 8
	fxpSetstat       = 9
	fxpFsetstat      = 10
	fxpOpendir       = 11
	fxpReaddir       = 12
	fxpRemove        = 13
	fxpMkdir         = 14
	fxpRmdir         = 15
	fxpRealpath      = 16
	fxpStat          = 17
	fxpRename        = 18
	fxpReadlink      = 19
	fxpSymlink       = 20
	fxpStatus        = 101
	fxpHandle        = 102
	fxpData          = 103
	fxpName          = 104
	fxpAttrs         = 105
	fxpExtended      = 200
	fxpExtendedReply = 201
)

// Flags of an open (§6.3).
const (
	flagRead   = 1
	flagWrite  = 2
	flagAppend = 4
	flagCreate = 8
	flagTrunc  = 16
	flagExcl   = 32
)

const version = 3

// Sizes in bytes. maxPacket is OpenSSH's (SFTP_MAX_MSG_LENGTH), and so is what is left for data in it.
const (
	maxPacket = 256 << 10
	maxData   = maxPacket - 1024
)

var (
	errShort   = errors.New("a request of the client's is cut short")
	errTooLong = errors.New("a request of the client's is too long")
)

// fields reads a packet. After an error it yields zeros; err tells.
type fields struct {
	b   []byte
	err error
}

func (f *fields) take(n int) []byte {
	if f.err != nil || n > len(f.b) {
		f.err = errShort
		return nil
	}
	b := f.b[:n]
	f.b = f.b[n:]
	return b
}

func (f *fields) byte() byte {
	if b := f.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (f *fields) uint32() uint32 {
	if b := f.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (f *fields) uint64() uint64 {
	if b := f.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// bytes is a string of the wire; it is good until the packet is.
func (f *fields) bytes() []byte {
	n := f.uint32()
	if int64(n) > int64(len(f.b)) {
		f.err = errShort
		return nil
	}
	return f.take(int(n))
}

func (f *fields) string() string { return string(f.bytes()) }

// whole is err, or that the packet was cut short.
func (f *fields) whole(err error) error { return cmp.Or(f.err, err) }

// reply is a packet that is being appended to the server's output.
type reply struct {
	s  *server
	at int // where its length stands
}

func (s *server) reply(kind byte, id uint32) reply {
	r := reply{s, len(s.out)}
	s.out = append(s.out, 0, 0, 0, 0, kind)
	s.out = binary.BigEndian.AppendUint32(s.out, id)
	return r
}

func (r reply) uint32(v uint32) { r.s.out = binary.BigEndian.AppendUint32(r.s.out, v) }
func (r reply) uint64(v uint64) { r.s.out = binary.BigEndian.AppendUint64(r.s.out, v) }

func (r reply) string(v string) {
	r.uint32(uint32(len(v)))
	r.s.out = append(r.s.out, v...)
}

func (r reply) end() {
	binary.BigEndian.PutUint32(r.s.out[r.at:], uint32(len(r.s.out)-r.at-4))
}
