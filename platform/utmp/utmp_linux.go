package utmp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Entry is a session on a terminal.
type Entry struct {
	Account string
	Uid     uint32
	Pid     int
	Line    string // "pts/3"
	Host    string // where the person comes from
	Addr    []byte // its IP address, 4 or 16 bytes
	Time    time.Time
}

// Last is an earlier login.
type Last struct {
	Time time.Time
	Line string
	Host string
}

// Files are where the records are kept.
type Files struct{ utmp, wtmp, lastlog string }

// System is the files of this system.
func System() Files { return Files{"/run/utmp", "/var/log/wtmp", "/var/log/lastlog"} }

// layout is where things stand in glibc's struct utmp and struct lastlog. Systems that once were 32 bits keep 32-bit
// times (bits/wordsize.h, __WORDSIZE_TIME64_COMPAT32); others do not.
type layout struct {
	size, time, addr int
	wide             bool
	last             int // size of struct lastlog
}

func here() layout {
	switch runtime.GOARCH {
	case "amd64", "386", "arm", "ppc64", "ppc64le", "s390x", "mips", "mipsle", "mips64", "mips64le":
		return layout{size: 384, time: 340, addr: 348, last: 292}
	}
	return layout{size: 400, time: 344, addr: 360, wide: true, last: 296}
}

// Fields of struct utmp (utmp(5)) before the times.
const (
	offPid, offLine, offID, offUser, offHost = 4, 8, 40, 44, 76
	lineSize, idSize, userSize, hostSize     = 32, 4, 32, 256
	userProcess, deadProcess                 = 7, 8
)

func (l layout) record(e Entry, kind int16) []byte {
	b := make([]byte, l.size)
	le := binary.NativeEndian
	le.PutUint16(b, uint16(kind))
	le.PutUint32(b[offPid:], uint32(e.Pid))
	copy(b[offLine:offLine+lineSize], e.Line)
	copy(b[offID:offID+idSize], id(e.Line))
	if kind == userProcess {
		copy(b[offUser:offUser+userSize], e.Account)
		copy(b[offHost:offHost+hostSize], e.Host)
		copy(b[l.addr:l.addr+16], e.Addr)
	}
	if l.wide {
		le.PutUint64(b[l.time:], uint64(e.Time.Unix()))
		le.PutUint64(b[l.time+8:], uint64(e.Time.Nanosecond()/1000))
	} else {
		le.PutUint32(b[l.time:], uint32(e.Time.Unix()))
		le.PutUint32(b[l.time+4:], uint32(e.Time.Nanosecond()/1000))
	}
	return b
}

// id is the end of the terminal's name, as everybody makes it.
func id(line string) string {
	if n := len(line); n > idSize {
		return line[n-idSize:]
	}
	return line
}

// Last returns when the account came last.
func (f Files) Last(uid uint32) (Last, bool) {
	l := here()
	file, err := os.Open(f.lastlog)
	if err != nil {
		return Last{}, false
	}
	defer file.Close()
	b := make([]byte, l.last)
	if _, err := file.ReadAt(b, int64(uid)*int64(l.last)); err != nil {
		return Last{}, false
	}
	at, rest := int64(binary.NativeEndian.Uint32(b)), b[4:]
	if l.wide {
		at, rest = int64(binary.NativeEndian.Uint64(b)), b[8:]
	}
	if at == 0 {
		return Last{}, false
	}
	return Last{time.Unix(at, 0), text(rest[:lineSize]), text(rest[lineSize : lineSize+hostSize])}, true
}

func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

// Login records that a session has begun.
func (f Files) Login(e Entry) error {
	l := here()
	b := l.record(e, userProcess)
	return errors.Join(f.present(l, b, e), f.history(b), f.last(l, e))
}

// Logout records that it is over.
func (f Files) Logout(e Entry) error {
	l := here()
	b := l.record(e, deadProcess)
	return errors.Join(f.present(l, b, e), f.history(b))
}

// maxRecords bounds what is looked through.
const maxRecords = 1 << 16

// present writes a record over that of the same terminal, or to the end.
func (f Files) present(l layout, b []byte, e Entry) error {
	return locked(f.utmp, func(file *os.File) error {
		old := make([]byte, l.size)
		for n := int64(0); ; n++ {
			_, err := file.ReadAt(old, n*int64(l.size))
			atEnd := errors.Is(err, io.EOF)
			if err != nil && !atEnd {
				return err
			}
			kind := int16(binary.NativeEndian.Uint16(old))
			mine := kind >= 5 && kind <= 8 && bytes.Equal(old[offID:offID+idSize], b[offID:offID+idSize])
			if !atEnd && !mine && n < maxRecords {
				continue
			}
			if dead := b[0] == deadProcess && b[1] == 0; dead && (atEnd || int(binary.NativeEndian.Uint32(old[offPid:])) != e.Pid) {
				return nil // the terminal is somebody else's by now
			}
			_, err = file.WriteAt(b, n*int64(l.size))
			return err
		}
	})
}

func (f Files) history(b []byte) error {
	return locked(f.wtmp, func(file *os.File) error {
		end, err := file.Seek(0, io.SeekEnd)
		if err != nil {
			return err
		}
		_, err = file.WriteAt(b, end-end%int64(len(b)))
		return err
	})
}

func (f Files) last(l layout, e Entry) error {
	return locked(f.lastlog, func(file *os.File) error {
		b := make([]byte, l.last)
		rest := b[4:]
		if l.wide {
			binary.NativeEndian.PutUint64(b, uint64(e.Time.Unix()))
			rest = b[8:]
		} else {
			binary.NativeEndian.PutUint32(b, uint32(e.Time.Unix()))
		}
		copy(rest[:lineSize], e.Line)
		copy(rest[lineSize:lineSize+hostSize], e.Host)
		_, err := file.WriteAt(b, int64(e.Uid)*int64(l.last))
		return err
	})
}

// lockTime is how long to wait for another program that writes; glibc takes the same locks.
const lockTime = 200 * time.Millisecond

// locked opens a file that is there already and locks it.
func locked(path string, f func(*os.File) error) error {
	file, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // this system does not keep it
	}
	if err != nil {
		return err
	}
	defer file.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	for end := time.Now().Add(lockTime); ; time.Sleep(5 * time.Millisecond) {
		err := unix.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, &lock)
		if err == nil {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("lock %s: %w", filepath.Base(path), err)
		}
	}
	return f(file)
}
