package tunnel

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/crypto/blake2s"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
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

// wire is a bind's inner side: what it receives is written into in, what it sends is dropped.
type wire struct {
	conn.Bind
	in chan []byte
	ep conn.Endpoint
}

func (w *wire) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	return []conn.ReceiveFunc{func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		msg := <-w.in
		sizes[0], eps[0] = copy(bufs[0], msg), w.ep
		return 1, nil
	}}, port, nil
}

func (w *wire) Send([][]byte, conn.Endpoint) error { return nil }

// A peer whose handshake WireGuard refuses, for the time that it bears, is called back, whichever key is greater; one that
// gets its response is not, nor is somebody who is no peer.
func TestRefusedHandshakeIsCalledBack(t *testing.T) {
	home, away := netip.MustParseAddrPort("192.0.2.1:51820"), netip.MustParseAddrPort("192.0.2.9:4500")
	message := func(kind byte, size int, to [32]byte) []byte {
		msg := make([]byte, size)
		msg[0] = kind
		_, _ = rand.Read(msg[4:8])
		h, _ := blake2s.New256(nil)
		h.Write([]byte(device.WGLabelMAC1))
		h.Write(to[:])
		mac, _ := blake2s.New128(h.Sum(nil))
		mac.Write(msg[:size-32])
		mac.Sum(msg[:size-32])
		return msg
	}
	for name, c := range map[string]struct {
		self, peer byte
		from       netip.AddrPort
		responds   bool
		roamed     bool // to away, where it was answered before
		called     bool
	}{
		"refused":                     {1, 2, home, false, false, true},
		"refused by the greater key":  {2, 1, home, false, false, true},
		"answered":                    {1, 2, home, true, false, false},
		"answered by the greater key": {2, 1, home, true, false, false},
		"a stranger's":                {1, 2, away, false, false, false},
		"refused where it roamed to":  {1, 2, away, false, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			std := conn.NewDefaultBind()
			ep, err := std.ParseEndpoint(c.from.String())
			if err != nil {
				t.Fatal(err)
			}
			w := &wire{Bind: std, in: make(chan []byte, 1), ep: ep}
			self, peer := device.NoisePublicKey{c.self}, device.NoisePublicKey{c.peer}
			b := newBind(w, self, time.Now)
			called := make(chan device.NoisePublicKey, 8)
			b.refused = func(k device.NoisePublicKey) { called <- k }
			fns, _, err := b.Open(1)
			if err := errors.Join(err, b.setCandidates(peer, []netip.AddrPort{home})); err != nil {
				t.Fatal(err)
			}
			response := func() {
				if err := b.Send([][]byte{message(device.MessageResponseType, device.MessageResponseSize, peer)}, ep); err != nil {
					t.Fatal(err)
				}
			}
			if c.roamed {
				response()
				time.Sleep(2 * responseWithin) // it counts as a response to what comes within that
			}
			buf, sizes, eps := make([]byte, 2048), make([]int, 1), make([]conn.Endpoint, 1)
			w.in <- message(device.MessageInitiationType, device.MessageInitiationSize, self)
			if n, err := fns[0]([][]byte{buf}, sizes, eps); n != 1 || err != nil || sizes[0] != device.MessageInitiationSize {
				t.Fatal("WireGuard does not see the initiation:", n, err, sizes)
			}
			if c.responds {
				response()
			}
			select {
			case k := <-called:
				if !c.called || k != peer {
					t.Errorf("called %x", k)
				}
			case <-time.After(4 * responseWithin):
				if c.called {
					t.Error("nobody was called")
				}
			}
		})
	}
}
