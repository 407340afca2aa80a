package flow

import (
	"net"
	"runtime"
	"sync"
	"time"
)

// out is what was written to a Conn and not yet taken by the system: at most one buffer, and one on its way.
type out struct {
	mu    sync.Mutex // guards what follows
	moved sync.Cond  // the buffer was taken, or sending ended
	buf   *[big]byte // nil while nothing waits
	n     int
	busy  bool // a goroutine sends
	err   error
	said  string // what Greet wrote, and the first Write will bring again
}

// Greet writes the server's identification at once, before the transport is made, which writes it again: that is left
// out. Some clients say what they are only then (RFC 4253 §4.2 lets either side begin).
func (c *Conn) Greet(line string) error {
	c.out.mu.Lock()
	c.out.said = line
	c.out.mu.Unlock()
	_, err := c.Conn.Write([]byte(line))
	return err
}

// Write gathers p for the goroutine that sends. An error of an earlier piece is returned by the next Write.
func (c *Conn) Write(p []byte) (n int, err error) {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if k := min(len(o.said), len(p)); k > 0 { // Greet wrote it
		o.said = o.said[k:]
		n, p = n+k, p[k:]
	}
	for len(p) > 0 {
		for o.n == big && o.err == nil {
			o.moved.Wait()
		}
		if o.err != nil {
			return n, o.err
		}
		if o.buf == nil {
			o.buf = buffers.Get().(*[big]byte)
		}
		k := copy(o.buf[o.n:], p)
		o.n += k
		n += k
		p = p[k:]
		if !o.busy {
			o.busy = true
			go c.send()
		}
	}
	return n, nil
}

// send writes what waits until nothing does.
func (c *Conn) send() {
	o := &c.out
	runtime.Gosched() // the rest of the packet comes at once
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.n > 0 && o.err == nil {
		buf, n := o.buf, o.n
		o.buf, o.n = nil, 0
		o.moved.Broadcast()
		o.mu.Unlock()
		c.acks.answered()
		_, err := c.Conn.Write(buf[:n])
		buffers.Put(buf)
		o.mu.Lock()
		if err != nil {
			o.err = err
		}
	}
	if o.buf != nil { // it failed; nobody takes the rest
		buffers.Put(o.buf)
		o.buf, o.n = nil, 0
	}
	o.busy = false
	o.moved.Broadcast()
}

// lastWords is how long Close waits for a client to take what was written before.
const lastWords = 250 * time.Millisecond

// drain waits until the system has taken what was written, or an error or the deadline of a write ends it.
func (c *Conn) drain() {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.busy {
		o.moved.Wait()
	}
	if o.err == nil {
		o.err = net.ErrClosed
	}
}

// Close sends what was written, if the client takes it soon, and ends the connection.
func (c *Conn) Close() error {
	c.out.mu.Lock()
	busy := c.out.busy
	c.out.mu.Unlock()
	if busy {
		_ = c.Conn.SetWriteDeadline(time.Now().Add(lastWords))
	}
	c.drain()
	return c.Conn.Close()
}
