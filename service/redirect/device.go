package redirect

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.zx2c4.com/wireguard/tun"
)

// Stack is an in-process TCP/IP stack that some flows end in.
type Stack interface {
	// Write takes inbound packets.
	Write(bufs [][]byte, offset int) (int, error)
	// TryRead gives outbound packets without waiting; 0 when there are none.
	TryRead(bufs [][]byte, sizes []int, offset int) int
	// SetNotify names a function to be called when there are packets to read. It does not block.
	SetNotify(func())
}

// Device is a tun.Device that filters and redirects what goes through another one.
type Device struct {
	inner  tun.Device
	filter *Filter
	stack  atomic.Pointer[Stack]

	// How Read is woken when the in-process stack has packets: on Unix by ending the read of the interface with a
	// deadline; elsewhere another goroutine reads the interface.
	file *os.File
	pump *pump

	events  chan tun.Event
	drained sync.WaitGroup // of the goroutine that takes inner's events
}

// NewDevice wraps inner. With divert, an in-process stack may be attached later. Closing the Device closes inner.
func NewDevice(inner tun.Device, f *Filter, divert bool) *Device {
	d := &Device{inner: inner, filter: f, events: make(chan tun.Event)}
	d.drained.Go(func() {
		defer close(d.events)
		for range inner.Events() {
		}
	})
	if !divert {
		return d
	}
	if file := inner.File(); file != nil && file.SetReadDeadline(time.Time{}) == nil {
		d.file = file
	} else {
		d.pump = newPump(inner)
	}
	return d
}

// Attach adds the in-process stack to a device that was made for one. Only one is ever attached.
func (d *Device) Attach(s Stack) {
	wake := func() { _ = d.file.SetReadDeadline(time.Unix(1, 0)) }
	if d.pump != nil {
		wake = d.pump.wakeUp
	}
	d.stack.Store(&s)
	s.SetNotify(wake)
	wake()
}

// Write takes packets from peers. It reorders bufs.
func (d *Device) Write(bufs [][]byte, offset int) (int, error) {
	f := d.filter
	pass := bufs[:0]
	var aside [][]byte
	f.mu.Lock()
	now := f.now().UnixNano()
	for _, b := range bufs {
		switch f.inbound(b[offset:], now) {
		case Pass:
			pass = append(pass, b)
		case PassNetstack:
			aside = append(aside, b)
		}
	}
	f.mu.Unlock()
	if len(aside) > 0 {
		if s := d.stack.Load(); s != nil {
			_, _ = (*s).Write(aside, offset)
		}
	}
	if len(pass) == 0 {
		return 0, nil
	}
	return d.inner.Write(pass, offset)
}

// Read gives packets to peers. A packet that must not leave has size 0.
func (d *Device) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	n, err := d.read(bufs, sizes, offset)
	if n == 0 {
		return n, err
	}
	f := d.filter
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now().UnixNano()
	for i := range n {
		if sizes[i] > 0 && f.outbound(bufs[i][offset:offset+sizes[i]], now) != Pass {
			sizes[i] = 0
		}
	}
	return n, err
}

func (d *Device) read(bufs [][]byte, sizes []int, offset int) (int, error) {
	for {
		if s := d.stack.Load(); s != nil {
			if n := (*s).TryRead(bufs, sizes, offset); n > 0 {
				return n, nil
			}
		}
		if d.pump != nil {
			if n, err := d.pump.read(bufs, sizes, offset); n > 0 || err != nil {
				return n, err
			}
			continue
		}
		n, err := d.inner.Read(bufs, sizes, offset)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			// Cleared before the stack is asked again: a packet that comes after that sets it anew.
			if err := d.file.SetReadDeadline(time.Time{}); err != nil {
				return 0, os.ErrClosed
			}
			continue
		}
		return n, err
	}
}

// Events yields nothing and closes with the device. WireGuard would close its UDP sockets whenever the interface goes
// down, and a new interface reports that it is down before it is up: the owner brings WireGuard up and down itself.
func (d *Device) Events() <-chan tun.Event { return d.events }

// File, MTU, Name and BatchSize are those of the wrapped device.
func (d *Device) File() *os.File        { return d.inner.File() }
func (d *Device) MTU() (int, error)     { return d.inner.MTU() }
func (d *Device) Name() (string, error) { return d.inner.Name() }
func (d *Device) BatchSize() int        { return d.inner.BatchSize() }

// Close closes the wrapped device and waits for the goroutines that read it.
func (d *Device) Close() error {
	defer d.drained.Wait()
	if d.pump != nil {
		return d.pump.close()
	}
	return d.inner.Close()
}

// pump reads a device whose Read cannot be interrupted, so that its packets and other ones can be waited for at once.
type pump struct {
	inner tun.Device
	full  chan *batch
	empty chan *batch
	wake  chan struct{} // one element: there may be other packets
	done  chan struct{}
	once  sync.Once
	end   sync.WaitGroup
}

type batch struct {
	bufs  [][]byte
	sizes []int
	n     int
	err   error
}

func newPump(inner tun.Device) *pump {
	p := &pump{inner: inner, full: make(chan *batch), empty: make(chan *batch, 2), wake: make(chan struct{}, 1), done: make(chan struct{})}
	size := inner.BatchSize()
	for range cap(p.empty) {
		b := &batch{bufs: make([][]byte, size), sizes: make([]int, size)}
		for i := range b.bufs {
			b.bufs[i] = make([]byte, headroom+65535)
		}
		p.empty <- b
	}
	p.end.Go(p.run)
	return p
}

func (p *pump) run() {
	for {
		b := <-p.empty
		b.n, b.err = p.inner.Read(b.bufs, b.sizes, headroom)
		select {
		case p.full <- b:
		case <-p.done:
			return
		}
		if b.err != nil && errors.Is(b.err, os.ErrClosed) {
			return
		}
	}
}

func (p *pump) wakeUp() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// read gives packets of the device; 0 and no error when it was woken.
func (p *pump) read(bufs [][]byte, sizes []int, offset int) (int, error) {
	select {
	case b := <-p.full:
		n, err := b.n, b.err
		for i := range n {
			sizes[i] = copy(bufs[i][offset:], b.bufs[i][headroom:headroom+b.sizes[i]])
		}
		p.empty <- b
		return n, err
	case <-p.wake:
		return 0, nil
	case <-p.done:
		return 0, os.ErrClosed
	}
}

func (p *pump) close() error {
	var err error
	p.once.Do(func() {
		close(p.done)
		err = p.inner.Close()
		p.end.Wait()
	})
	return err
}
