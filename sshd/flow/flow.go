// Package flow moves bytes between SSH channels, files and sockets fast, and keeps no buffer while none move:
// a server has many connections that wait and few that work.
package flow

import (
	"io"
	"sync"
	"sync/atomic"
	"syscall"
)

// Sizes in bytes. Big: larger buffers gained nothing in throughput to OpenSSH's client. Small: a line of typing.
const (
	big   = 128 << 10
	small = 512
)

// buffers is shared by all connections: what one releases, the next takes.
var buffers = sync.Pool{New: func() any { return new([big]byte) }}

// Meter counts what a channel carried. Moved, where set, is called whenever bytes moved.
type Meter struct {
	In, Out atomic.Int64 // bytes towards the server peer, and away from it
	Moved   func()
}

func (m *Meter) note(n *atomic.Int64, d int) {
	n.Add(int64(d))
	if m.Moved != nil {
		m.Moved()
	}
}

// FromChannel copies src, an SSH channel, to dst until src ends or dst fails. It waits with a small buffer and
// takes a big one while data is plenty.
func FromChannel(dst io.Writer, src io.Reader, m *Meter) error {
	wait := make([]byte, small)
	var full *[big]byte
	defer func() {
		if full != nil {
			buffers.Put(full)
		}
	}()
	for {
		buf := wait
		if full != nil {
			buf = full[:]
		}
		n, err := src.Read(buf)
		if n > 0 {
			m.note(&m.In, n)
			if _, werr := dst.Write(buf[:n]); werr != nil {
				return werr
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case full == nil && n == len(wait):
			full = buffers.Get().(*[big]byte)
		case full != nil && n < small:
			buffers.Put(full)
			full = nil
		}
	}
}

// ToChannel copies src to dst, an SSH channel, until src ends or dst fails. Sources that can tell when they are
// readable (files, sockets) cost no buffer before.
func ToChannel(dst io.Writer, src io.Reader, m *Meter) error {
	read := reader(src)
	for {
		buf, n, err := read()
		if n > 0 {
			m.note(&m.Out, n)
			_, werr := dst.Write(buf[:n])
			if werr != nil {
				buffers.Put(buf)
				return werr
			}
		}
		if buf != nil {
			buffers.Put(buf)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// reader returns a function that reads once into a buffer of the pool.
func reader(src io.Reader) func() (*[big]byte, int, error) {
	if c, ok := src.(syscall.Conn); ok {
		if rc, err := c.SyscallConn(); err == nil && pollable {
			return func() (*[big]byte, int, error) { return readPolled(rc) }
		}
	}
	return func() (*[big]byte, int, error) {
		buf := buffers.Get().(*[big]byte)
		n, err := src.Read(buf[:])
		return buf, n, err
	}
}
