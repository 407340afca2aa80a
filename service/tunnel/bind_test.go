package tunnel

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"
)

// Machines that learn of each other at the same moment begin handshakes that cross.
func TestCrossingHandshakesLoseNoTime(t *testing.T) {
	for range 15 {
		ma, mb := newMachine(t, 1), newMachine(t, 2)
		a, b := openUser(t, ma), openUser(t, mb)
		b.SetAdmit(true, []string{ma.ID})
		go echo(b.Listener())
		toA, toB := []Peer{ma.peer(loopback(t, a))}, []Peer{mb.peer(loopback(t, b))}
		set := make(chan error, 1)
		go func() { set <- b.SetPeers(toA) }()
		if err := errors.Join(a.SetPeers(toB), <-set); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second) // less than WireGuard's retry after 5 s
		c, err := a.Dial(ctx, netip.AddrPortFrom(mb.A4, 22))
		cancel()
		if err != nil {
			t.Fatalf("connect: %v", err)
		}
		c.Close()
		a.Close()
		b.Close()
	}
}
