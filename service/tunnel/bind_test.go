package tunnel

import (
	"bytes"
	"crypto/rand"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
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
		connect(t, a, mb.A4).Close()
		a.Close()
		b.Close()
	}
}

// wire is a bind's inner side: what it receives is written into in, what it sends is kept.
type wire struct {
	conn.Bind
	in chan []byte
	ep conn.Endpoint

	mu   sync.Mutex // guards sent
	sent [][]byte
}

func (w *wire) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	return []conn.ReceiveFunc{func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		msg := <-w.in
		sizes[0], eps[0] = copy(bufs[0], msg), w.ep
		return 1, nil
	}}, port, nil
}

func (w *wire) Send(bufs [][]byte, _ conn.Endpoint) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range bufs {
		w.sent = append(w.sent, bytes.Clone(b))
	}
	return nil
}

func (w *wire) all() [][]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.sent)
}

// message is a handshake message to the holder of a key, with a sender's index of its own.
func message(kind byte, size int, to [32]byte, receiver []byte) []byte {
	msg := make([]byte, size)
	msg[0] = kind
	_, _ = rand.Read(msg[4:8])
	copy(msg[8:12], receiver)
	h, _ := blake2s.New256(nil)
	h.Write([]byte(device.WGLabelMAC1))
	h.Write(to[:])
	mac, _ := blake2s.New128(h.Sum(nil))
	mac.Write(msg[:size-32])
	mac.Sum(msg[:size-32])
	return msg
}

func initiation(to [32]byte) []byte {
	return message(device.MessageInitiationType, device.MessageInitiationSize, to, nil)
}

func response(to [32]byte, initiation []byte) []byte {
	return message(device.MessageResponseType, device.MessageResponseSize, to, initiation[4:8])
}

// A peer whose handshake WireGuard refuses, for the time that it bears, is called back, whichever key is greater; one that
// gets its response is not, nor is somebody who is no peer.
func TestRefusedHandshakeIsCalledBack(t *testing.T) {
	home, away := netip.MustParseAddrPort("192.0.2.1:51820"), netip.MustParseAddrPort("192.0.2.9:4500")
	for name, c := range map[string]struct {
		self, peer byte
		from       netip.AddrPort
		responds   bool
		roamed     bool // to away, where it was answered before
		stray      bool // not made for this machine
		called     bool
	}{
		"refused":                     {1, 2, home, false, false, false, true},
		"refused by the greater key":  {2, 1, home, false, false, false, true},
		"answered":                    {1, 2, home, true, false, false, false},
		"answered by the greater key": {2, 1, home, true, false, false, false},
		"a stranger's":                {1, 2, away, false, false, false, false},
		"not made for this machine":   {1, 2, home, false, false, true, false},
		"refused where it roamed to":  {1, 2, away, false, true, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
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
				respond := func() {
					if err := b.Send([][]byte{response(peer, initiation(self))}, ep); err != nil {
						t.Fatal(err)
					}
				}
				if c.roamed {
					respond()
					time.Sleep(2 * responseWithin) // it counts as a response to what comes within that
				}
				buf, sizes, eps := make([]byte, 2048), make([]int, 1), make([]conn.Endpoint, 1)
				to := self
				if c.stray {
					to = peer
				}
				w.in <- initiation(to)
				if n, err := fns[0]([][]byte{buf}, sizes, eps); n != 1 || err != nil || sizes[0] != device.MessageInitiationSize {
					t.Fatal("WireGuard does not see the initiation:", n, err, sizes)
				}
				if c.responds {
					time.Sleep(responseWithin / 2)
					respond()
				}
				time.Sleep(2 * responseWithin)
				synctest.Wait()
				close(called)
				n := 0
				for k := range called {
					if n++; k != peer {
						t.Errorf("called %x", k)
					}
				}
				if n > 1 || (n == 1) != c.called {
					t.Errorf("%d calls", n)
				}
				b.remove(peer)
			})
		})
	}
}

// WireGuard never has an initiation and a response of the same peer in hand at once.
func TestCrossingMessagesAreKeptApart(t *testing.T) {
	home := netip.MustParseAddrPort("192.0.2.1:51820")
	self, peer := device.NoisePublicKey{2}, device.NoisePublicKey{1} // ours is the greater one
	type rig struct {
		*testing.T
		b *bind
		w *wire
		// sees reports whether WireGuard gets a message of the peer's.
		sees func(msg []byte) bool
		send func(msg []byte)
	}
	for name, f := range map[string]func(r *rig){
		"an own initiation waits for what came in, and is moot once that is answered": func(r *rig) {
			theirs, ours := initiation(self), initiation(peer)
			if !r.sees(theirs) {
				r.Error("theirs is hidden")
			}
			if r.send(ours); len(r.w.all()) != 0 {
				r.Error("ours was sent")
			}
			time.Sleep(time.Millisecond)
			r.send(response(peer, theirs))
			time.Sleep(2 * repeatAfter)
			synctest.Wait()
			if n := len(r.w.all()); n != 1 {
				r.Errorf("%d messages were sent", n)
			}
		},
		"an own initiation is sent after all": func(r *rig) {
			ours := initiation(peer)
			r.sees(initiation(self))
			r.send(ours)
			time.Sleep(repeatAfter)
			synctest.Wait()
			if all := r.w.all(); len(all) == 0 || !bytes.Equal(all[0], ours) {
				r.Error("ours was not sent")
			}
		},
		"copies are passed over, insisting is not": func(r *rig) {
			theirs, ours := initiation(self), initiation(peer)
			r.send(ours)
			for range 2 {
				if r.sees(theirs) {
					r.Error("theirs was not passed over")
				}
			}
			time.Sleep(inHand)
			if !r.sees(theirs) {
				r.Error("it stays hidden")
			}
			if !r.sees(response(self, ours)) {
				r.Error("the response is hidden")
			}
		},
		"what was not made for this machine does nothing": func(r *rig) {
			stray, ours := initiation(peer), initiation(peer)
			r.sees(stray)
			r.sees(stray)
			if r.send(ours); len(r.w.all()) != 1 {
				r.Error("ours is held back")
			}
		},
		"a response is followed by no initiation for a moment": func(r *rig) {
			ours := initiation(peer)
			r.send(ours)
			if !r.sees(response(self, ours)) {
				r.Error("the response is hidden")
			}
			if r.sees(initiation(self)) {
				r.Error("an initiation came right after it")
			}
			time.Sleep(inHand)
			if !r.sees(initiation(self)) {
				r.Error("an initiation stays hidden")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				std := conn.NewDefaultBind()
				ep, err := std.ParseEndpoint(home.String())
				if err != nil {
					t.Fatal(err)
				}
				r := &rig{T: t, w: &wire{Bind: std, in: make(chan []byte, 1), ep: ep}}
				r.b = newBind(r.w, self, time.Now)
				fns, _, err := r.b.Open(1)
				if err := errors.Join(err, r.b.setCandidates(peer, []netip.AddrPort{home})); err != nil {
					t.Fatal(err)
				}
				defer r.b.remove(peer)
				r.sees = func(msg []byte) bool {
					t.Helper()
					buf, sizes, eps := make([]byte, 2048), make([]int, 1), make([]conn.Endpoint, 1)
					r.w.in <- msg
					if n, err := fns[0]([][]byte{buf}, sizes, eps); n != 1 || err != nil {
						t.Fatal(n, err)
					}
					return sizes[0] == len(msg)
				}
				r.send = func(msg []byte) {
					t.Helper()
					if err := r.b.Send([][]byte{msg}, ep); err != nil {
						t.Fatal(err)
					}
				}
				f(r)
			})
		})
	}
}
