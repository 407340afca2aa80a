//go:build linux

package main

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

// roundTrip is the delay of the slow wire, both ways together: another continent.
const roundTrip = 50 * time.Millisecond

// wire carries the tunnel's packets between the two machines with a delay: a TUN device on each, to which a route
// leads, and a queue in between. The kernel's own (netem) is missing on many machines.
type wire struct {
	b     *bench
	files [2]*os.File
	wg    sync.WaitGroup
}

// slow puts the wire between laptop and web-1.
func (b *bench) slow(ctx context.Context) (_ *wire, err error) {
	w := &wire{b: b}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	ends := [2]struct{ own, other string }{{b.laptop.Addr, b.web.Addr}, {b.web.Addr, b.laptop.Addr}}
	for i, p := range []interface {
		OpenTUN(string) (*os.File, error)
		Run(context.Context, string, ...string) error
	}{b.laptop, b.web} {
		if w.files[i], err = p.OpenTUN("slow0"); err != nil {
			return nil, err
		}
		for _, argv := range [][]string{
			{"ip", "link", "set", "slow0", "up", "txqueuelen", "10000"},
			{"ip", "route", "add", ends[i].other + "/32", "dev", "slow0", "src", ends[i].own},
		} {
			if err := p.Run(ctx, "", argv...); err != nil {
				return nil, err
			}
		}
	}
	w.wg.Go(func() { carry(w.files[0], w.files[1], roundTrip/2) })
	w.wg.Go(func() { carry(w.files[1], w.files[0], roundTrip/2) })
	return w, nil
}

// close takes the wire away: the routes go with the devices.
func (w *wire) close() error {
	var errs []error
	for _, f := range w.files {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	w.wg.Wait()
	return errors.Join(errs...)
}

// carry moves packets until one of the devices is closed.
func carry(from, to *os.File, delay time.Duration) {
	type packet struct {
		b  []byte
		at time.Time
	}
	queue := make(chan packet, 1<<16)
	var wg sync.WaitGroup
	wg.Go(func() {
		for p := range queue {
			time.Sleep(time.Until(p.at))
			if _, err := to.Write(p.b); errors.Is(err, os.ErrClosed) {
				return
			}
		}
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			break
		}
		select {
		case queue <- packet{append([]byte(nil), buf[:n]...), time.Now().Add(delay)}:
		default: // a full queue loses packets, as a wire does
		}
	}
	close(queue)
	wg.Wait()
}
