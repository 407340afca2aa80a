package flow

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Conn wraps the connection under an SSH transport. x/crypto/ssh reads through a buffer of 4 kB; Conn reads from
// the system in big pieces while data is plenty and holds no buffer while there is none.
//
// x/crypto/ssh also writes each packet in pieces, 4 kB and the rest. Conn gathers what is written while the system
// takes what was written before: under load it goes out in pieces that fill the tunnel's batches, and encrypting and
// sending go on side by side.
type Conn struct {
	net.Conn
	rc  syscall.RawConn // nil: reads cannot wait without a buffer
	out out

	reads atomic.Uint64 // that have begun

	mu   sync.Mutex // one reader at a time; guards what follows
	buf  *[big]byte
	r, w int
	acks *acks // nil: the system acknowledges as it does
	// peeked was read before the first Read.
	peeked []byte

	watch  sync.Mutex // guards failed
	failed func(error)
}

// OnReadError has f called, once, when a read fails: the SSH transport reads ahead, so a connection that ends shows
// there first. nil: nobody is told.
func (c *Conn) OnReadError(f func(error)) {
	c.watch.Lock()
	defer c.watch.Unlock()
	c.failed = f
}

func (c *Conn) ended(err error) {
	c.watch.Lock()
	defer c.watch.Unlock()
	if c.failed != nil {
		c.failed(err)
		c.failed = nil
	}
}

// Wrap returns c with buffered reads.
func Wrap(c net.Conn) *Conn {
	w := &Conn{Conn: c}
	w.out.moved.L = &w.out.mu
	if sc, ok := c.(syscall.Conn); ok && pollable {
		if rc, err := sc.SyscallConn(); err == nil {
			w.rc, w.acks = rc, newAcks(rc)
		}
	}
	return w
}

// Reads grows whenever something has come from the other side.
func (c *Conn) Reads() uint64 { return c.reads.Load() }

func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.read(p)
	if err != nil {
		c.ended(err)
	}
	return n, err
}

func (c *Conn) read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.peeked) > 0 {
		n := copy(p, c.peeked)
		c.peeked = c.peeked[n:]
		return n, nil
	}
	if c.r == c.w {
		c.reads.Add(1)
		if c.rc == nil {
			return c.Conn.Read(p)
		}
		buf, n, err := readPolled(c.rc)
		if err != nil {
			if buf != nil {
				buffers.Put(buf)
			}
			return 0, c.readError(err)
		}
		c.acks.received(buf[:n])
		c.buf, c.r, c.w = buf, 0, n
	}
	n := copy(p, c.buf[c.r:c.w])
	if c.r += n; c.r == c.w {
		buffers.Put(c.buf)
		c.buf = nil
	}
	return n, nil
}

// maxPeek is the longest identification (RFC 4253 §4.2), in bytes.
const maxPeek = 255

// Peek returns the first bytes that come within that time, which Read returns again. It leaves a read deadline behind.
func (c *Conn) Peek(within time.Duration) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.SetReadDeadline(time.Now().Add(within))
	buf := make([]byte, maxPeek)
	n, err := c.Conn.Read(buf)
	if n > 0 && err == nil {
		c.peeked = buf[:n]
		c.acks.received(c.peeked)
	}
	return c.peeked
}

// readError makes of a closed or timed-out connection's raw error what net.Conn returns.
func (c *Conn) readError(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return &net.OpError{Op: "read", Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: errno}
	}
	return err
}

// CloseWrite ends our side and leaves the other open, where the connection can do that.
func (c *Conn) CloseWrite() error {
	c.drain()
	if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return c.Conn.Close()
}
