package tunnel

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/curve25519"

	"lanyard/service/redirect"
	"lanyard/test/calm"
)

// machine is one end of a test network.
type machine struct {
	ID   string
	Key  [32]byte
	Pub  [32]byte
	A4   netip.Addr
	A6   netip.Addr
	Port uint16
}

var overlay4, overlay6 = netip.MustParsePrefix("100.110.0.0/16"), netip.MustParsePrefix("fd00:110::/48")

func newMachine(t testing.TB, n int) machine {
	t.Helper()
	m := machine{ID: fmt.Sprintf("peer-%d", n), A4: netip.AddrFrom4([4]byte{100, 110, 0, byte(n)}), A6: netip.MustParseAddr(fmt.Sprintf("fd00:110::%d", n))}
	if _, err := rand.Read(m.Key[:]); err != nil {
		t.Fatal(err)
	}
	pub, err := curve25519.X25519(m.Key[:], curve25519.Basepoint)
	if err != nil {
		t.Fatal(err)
	}
	m.Pub = [32]byte(pub)
	return m
}

func (m machine) config() Config {
	return Config{PrivateKey: m.Key, Addr4: m.A4, Addr6: m.A6, Overlay4: overlay4, Overlay6: overlay6, ListenPort: m.Port}
}

func (m machine) peer(at ...netip.AddrPort) Peer {
	return Peer{ID: m.ID, PublicKey: m.Pub, Addrs: []netip.Addr{m.A4, m.A6}, Endpoints: at}
}

func openUser(t testing.TB, m machine) *Tunnel {
	t.Helper()
	cfg := m.config()
	cfg.Userspace, cfg.LoopbackEndpoints = true, true
	tn, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tn.Close() })
	return tn
}

func loopback(t testing.TB, tn *Tunnel) netip.AddrPort {
	t.Helper()
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), tn.Status().ListenPort)
}

// echo serves a listener until it closes.
func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}()
	}
}

// connect opens a connection to port 22 of an overlay address, and fails when it waited for WireGuard's retry after 5 s: a handshake was
// lost.
func connect(t *testing.T, from *Tunnel, to netip.Addr) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	clock := calm.Start()
	c, err := from.Dial(ctx, netip.AddrPortFrom(to, 22))
	took := clock.Stop()
	if err != nil {
		t.Fatalf("connect to %s: %v", to, err)
	}
	if took > handshakeTime {
		t.Errorf("connecting took %v: a retry was waited for", took)
	}
	return c
}

const handshakeTime = 4 * time.Second

// talk sends n bytes over a connection that echoes, and wants them back.
func talk(c net.Conn, n int) error {
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	out, in := make([]byte, n), make([]byte, n)
	_, _ = rand.Read(out)
	sent := make(chan error, 1)
	go func() { _, err := c.Write(out); sent <- err }()
	if _, err := io.ReadFull(c, in); err != nil {
		return err
	}
	if !bytes.Equal(in, out) {
		return errors.New("other bytes came back")
	}
	return <-sent
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(5 * time.Millisecond) // between looks
	}
}

func userPair(t testing.TB) (a, b *Tunnel, ma, mb machine) {
	t.Helper()
	ma, mb = newMachine(t, 1), newMachine(t, 2)
	a, b = openUser(t, ma), openUser(t, mb)
	for _, err := range []error{a.SetPeers([]Peer{mb.peer(loopback(t, b))}), b.SetPeers([]Peer{ma.peer(loopback(t, a))})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return a, b, ma, mb
}

func TestUserspacePairEndToEnd(t *testing.T) {
	a, b, ma, mb := userPair(t)
	b.SetAdmit(true, []string{ma.ID})
	l := b.Listener()
	go echo(l)
	for _, to := range []netip.Addr{mb.A4, mb.A6} {
		c := connect(t, a, to)
		if err := talk(c, 4<<20); err != nil {
			t.Errorf("%s: %v", to, err)
		}
		from := c.LocalAddr().(*net.TCPAddr).AddrPort()
		if id, ok := b.Source(from); !ok || id != ma.ID {
			t.Errorf("source of %s: %q %v", from, id, ok)
		}
		c.Close()
	}
	s := b.Status()
	if s.Mode != "userspace" || s.Listener != "netstack" || s.ListenerWhy == "" || len(s.Peers) != 1 || !s.Peers[0].Direct || s.Peers[0].LastHandshake.IsZero() {
		t.Errorf("status: %+v", s)
	}
	// Not admitted any more, and the listener's own port: nothing answers.
	b.SetAdmit(true, nil)
	for _, port := range []uint16{22, redirect.PortListen, 80} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if c, err := a.Dial(ctx, netip.AddrPortFrom(mb.A4, port)); err == nil {
			t.Errorf("port %d answered", port)
			c.Close()
		}
		cancel()
	}
	// From the machine itself: the connection is closed unserved.
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	c, err := b.Dial(ctx, netip.AddrPortFrom(mb.A4, redirect.PortListen))
	if err == nil {
		if err := talk(c, 1); err == nil {
			t.Error("a connection that did not cross the tunnel was served")
		}
		c.Close()
	}
}

func TestFirstCandidateThatAnswersWinsAtOnce(t *testing.T) {
	ma, mb := newMachine(t, 1), newMachine(t, 2)
	a, b := openUser(t, ma), openUser(t, mb)
	dead, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}) // swallows everything
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	deadAt := dead.LocalAddr().(*net.UDPAddr).AddrPort()
	b.SetAdmit(true, []string{ma.ID})
	go echo(b.Listener())
	if err := b.SetPeers([]Peer{ma.peer()}); err != nil {
		t.Fatal(err)
	}
	if err := a.SetPeers([]Peer{mb.peer(deadAt, netip.AddrPortFrom(overlay4.Addr().Next(), 51820), loopback(t, b))}); err != nil {
		t.Fatal(err)
	}
	defer connect(t, a, mb.A4).Close()
	if got := a.Status().Peers[0].Endpoint; got != loopback(t, b) {
		t.Errorf("endpoint %s, want %s", got, loopback(t, b))
	}
}

func TestLateCandidateGetsTheHandshakeThatIsUnderWay(t *testing.T) {
	ma, mb := newMachine(t, 1), newMachine(t, 2)
	a, b := openUser(t, ma), openUser(t, mb)
	b.SetAdmit(true, []string{ma.ID})
	go echo(b.Listener())
	if err := errors.Join(b.SetPeers([]Peer{ma.peer()}), a.SetPeers([]Peer{mb.peer()})); err != nil {
		t.Fatal(err)
	}
	connected := make(chan error, 1)
	clock := calm.Start()
	go func() {
		c, err := a.Dial(t.Context(), netip.AddrPortFrom(mb.A4, 22))
		if err == nil {
			c.Close()
		}
		connected <- err
	}()
	target := a.bind.targets[mb.Pub]
	until(t, "a handshake was tried", func() bool { target.mu.Lock(); defer target.mu.Unlock(); return target.initiation != nil })
	if err := a.SetPeers([]Peer{mb.peer(loopback(t, b))}); err != nil {
		t.Fatal(err)
	}
	if err := <-connected; err != nil {
		t.Fatal(err)
	}
	if took := clock.Stop(); took > handshakeTime {
		t.Errorf("connecting took %v: the 5-second retry was waited for", took)
	}
}

func TestPeerThatMovesKeepsItsConnection(t *testing.T) {
	a, b, ma, mb := userPair(t)
	b.SetAdmit(true, []string{ma.ID})
	go echo(b.Listener())
	c, err := a.Dial(t.Context(), netip.AddrPortFrom(mb.A4, 22))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := talk(c, 1000); err != nil {
		t.Fatal(err)
	}
	before := b.Status().Peers[0].Endpoint
	for moved := false; !moved; moved = listensAt(t, a) != before.Port() { // another port, as behind a NAT that forgot
		if err := a.wg.IpcSet("listen_port=0\n"); err != nil {
			t.Fatal(err)
		}
	}
	if err := talk(c, 100_000); err != nil {
		t.Fatal(err)
	}
	if after := b.Status().Peers[0].Endpoint; after == before {
		t.Errorf("the peer moved, its endpoint is still %s", after)
	}
}

// listensAt is the port that WireGuard has now.
func listensAt(t *testing.T, tn *Tunnel) (port uint16) {
	t.Helper()
	all, err := tn.wg.IpcGet()
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(all, "listen_port=")
	if _, err := fmt.Sscan(rest, &port); err != nil {
		t.Fatal(err)
	}
	return port
}

func TestUnchangedPeersAreNotDisturbed(t *testing.T) {
	a, b, ma, mb := userPair(t)
	b.SetAdmit(true, []string{ma.ID})
	go echo(b.Listener())
	c, err := a.Dial(t.Context(), netip.AddrPortFrom(mb.A4, 22))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := talk(c, 1000); err != nil {
		t.Fatal(err)
	}
	shook := b.Status().Peers[0].LastHandshake
	third := newMachine(t, 3)
	for _, peers := range [][]Peer{
		{ma.peer(loopback(t, a)), third.peer()},
		{ma.peer(loopback(t, a), netip.MustParseAddrPort("127.0.0.1:9")), third.peer()}, // more candidates
		{ma.peer(), third.peer(netip.MustParseAddrPort("127.0.0.1:9"))},                 // none
		{ma.peer(loopback(t, a))},
	} {
		if err := b.SetPeers(peers); err != nil {
			t.Fatal(err)
		}
		if err := talk(c, 1000); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.Status().Peers[0].LastHandshake; got != shook {
		t.Errorf("a new handshake took place: %v, %v", shook, got)
	}
	if err := b.SetPeers(nil); err != nil {
		t.Fatal(err)
	}
	if _, ok := b.Source(c.LocalAddr().(*net.TCPAddr).AddrPort()); ok {
		t.Error("a peer that is gone is still a source")
	}
}

func TestPeersThatClashAreRefused(t *testing.T) {
	m := newMachine(t, 1)
	tn := openUser(t, m)
	two, three := newMachine(t, 2), newMachine(t, 3)
	same := three.peer()
	same.Addrs = two.peer().Addrs
	key := three.peer()
	key.PublicKey = two.Pub
	own := three.peer()
	own.Addrs = []netip.Addr{m.A4}
	for name, p := range map[string]Peer{"address": same, "key": key, "own address": own, "id": two.peer()} {
		if err := tn.SetPeers([]Peer{two.peer(), p}); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if n := len(tn.Status().Peers); n != 0 {
		t.Errorf("%d peers after refused calls", n)
	}
}

func TestNextFreePortIsTaken(t *testing.T) {
	ma, mb := newMachine(t, 1), newMachine(t, 2)
	a := openUser(t, ma)
	mb.Port = a.Status().ListenPort
	b := openUser(t, mb)
	if pa, pb := a.Status().ListenPort, b.Status().ListenPort; pb <= pa {
		t.Errorf("ports %d and %d", pa, pb)
	}
	found := false
	for _, e := range b.Endpoints() {
		found = found || e == loopback(t, b)
		if overlay4.Contains(e.Addr()) || overlay6.Contains(e.Addr()) {
			t.Errorf("overlay address among the endpoints: %s", e)
		}
	}
	if !found {
		t.Errorf("endpoints %v lack the loopback address that was asked for", b.Endpoints())
	}
}

func TestClosedTunnelLeavesNothing(t *testing.T) {
	m := newMachine(t, 1)
	// Tunnels of other programs begin at the default port, and the system gives away those from 32768 on.
	m.Port = uint16(20000 + os.Getpid()%10000)
	tn := openUser(t, m)
	l := tn.Listener()
	port := tn.Status().ListenPort
	if err := tn.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept after close: %v", err)
	}
	c, err := net.ListenUDP("udp4", &net.UDPAddr{Port: int(port)})
	if err != nil {
		t.Fatalf("the port is still taken: %v", err)
	}
	c.Close()
}
