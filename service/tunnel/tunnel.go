// Package tunnel is this machine's end of the overlay network: WireGuard over UDP, on a kernel TUN interface or, without
// root, on a TCP/IP stack in this process. Between WireGuard and either stands package redirect, which filters packets
// and leads overlay:22 to our own listener.
package tunnel

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/curve25519"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"lanyard/platform/ifaddr"
	"lanyard/service/redirect"
	"lanyard/service/tunnel/netstack"
)

// Tunnel is an open tunnel. Its methods may be called from several goroutines.
type Tunnel struct {
	cfg    Config
	addrs  []netip.Addr // that the system took
	name   string       // of the interface
	bind   *bind
	wg     *device.Device
	dev    *redirect.Device
	native tun.Device
	filter *redirect.Filter
	user   *netstack.Stack // userspace mode's machine end; nil in kernel mode

	ctx        context.Context // ends with Close
	cancel     context.CancelFunc
	running    sync.WaitGroup
	unanswered chan struct{} // one element: a peer's SYN was not answered by the kernel
	closing    sync.Once
	closed     error

	set     sync.Mutex // held by SetPeers, so that calls take effect in order
	placing sync.Mutex // held while a listener is made and while places are chosen

	mu       sync.Mutex // guards all below
	peers    map[string]Peer
	aside    *netstack.Stack // kernel mode: for flows that the host's firewall would drop
	listener *listener
	inherits []net.Listener // from a handover, not yet used by Listener
	place    [2]redirect.Place
	why      string
}

// Open brings the tunnel up. The context ends only the opening. An error names what is missing: the right to make an
// interface, a free port.
func Open(ctx context.Context, cfg Config) (*Tunnel, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	t := &Tunnel{cfg: cfg, unanswered: make(chan struct{}, 1), peers: map[string]Peer{}}
	t.ctx, t.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for _, a := range []netip.Addr{cfg.Addr4, cfg.Addr6} {
		if a.IsValid() {
			t.addrs = append(t.addrs, a)
		}
	}
	if err := t.open(); err != nil {
		t.cancel()
		return nil, fmt.Errorf("open tunnel: %w", err)
	}
	return t, nil
}

func (t *Tunnel) open() (err error) {
	if t.cfg.Userspace {
		t.user, err = netstack.New(t.addrs, t.cfg.MTU)
		t.native = t.user
	} else {
		err = t.openTUN()
	}
	if err != nil {
		return err
	}
	t.filter = redirect.NewFilter(t.cfg.Addr4, t.cfg.Addr6, t.cfg.Now, func() {
		select {
		case t.unanswered <- struct{}{}:
		default:
		}
	})
	if !t.cfg.Userspace {
		t.adopt()
	}
	self, err := curve25519.X25519(t.cfg.PrivateKey[:], curve25519.Basepoint)
	if err != nil {
		_ = t.native.Close()
		return err
	}
	t.bind = newBind(conn.NewDefaultBind(), device.NoisePublicKey(self), t.cfg.Now)
	t.bind.crossed, t.bind.refused = t.startAnew, t.callBack
	t.dev = redirect.NewDevice(t.native, t.filter, !t.cfg.Userspace)
	t.wg = device.NewDevice(t.dev, t.bind, logger(t.cfg.Log))
	port := t.cfg.ListenPort
	if t.cfg.Resume != nil {
		port = t.cfg.Resume.Port
	}
	if err := t.wg.IpcSet(fmt.Sprintf("private_key=%x\nlisten_port=%d\n", t.cfg.PrivateKey, port)); err != nil {
		t.wg.Close()
		return err
	}
	if err := t.wg.Up(); err != nil {
		t.wg.Close()
		return fmt.Errorf("listen on UDP port %d or one of the %d after it: %w", port, portTries-1, err)
	}
	t.running.Go(t.maintain)
	return nil
}

// adopt finds the connections that are open already, with another process's tunnel or with that of one that broke down.
func (t *Tunnel) adopt() {
	open := openConnections()
	t.filter.AdoptOwn(open)
	var served []netip.AddrPort
	for _, c := range open {
		if c.Local.Port() == redirect.PortListen && slices.Contains(t.addrs, c.Local.Addr()) {
			served = append(served, c.Remote)
		}
	}
	t.filter.Adopt(served)
}

// openTUN makes the interface, or takes over another process's, and configures it.
func (t *Tunnel) openTUN() error {
	var err error
	if h := t.cfg.Resume; h != nil {
		if t.native, err = resumeTUN(h, t.cfg.MTU); err != nil {
			return err
		}
		for _, f := range h.Listeners {
			if l, err := net.FileListener(f); err == nil {
				t.inherits = append(t.inherits, l)
			}
			_ = f.Close()
		}
	} else {
		want := t.cfg.Name
		if want == "" {
			want = DefaultName
		}
		if t.native, err = tun.CreateTUN(ifaddr.TUNName(want), t.cfg.MTU); err != nil {
			return fmt.Errorf("make a network interface (it needs administrator's rights; userspace mode does not): %w", err)
		}
	}
	if t.name, err = t.native.Name(); err != nil {
		_ = t.native.Close()
		return err
	}
	var routes []netip.Prefix
	for i, p := range []netip.Prefix{t.cfg.Overlay4, t.cfg.Overlay6} {
		if p.IsValid() && []netip.Addr{t.cfg.Addr4, t.cfg.Addr6}[i].IsValid() {
			routes = append(routes, p.Masked())
		}
	}
	skipped, err := ifaddr.Configure(t.name, t.cfg.MTU, t.addrs, routes)
	if err != nil {
		_ = t.native.Close()
		return err
	}
	for _, a := range skipped {
		t.cfg.Log.Warn("the system does not take this overlay address; IPv6 is perhaps switched off", "address", a)
		t.addrs = slices.DeleteFunc(t.addrs, func(b netip.Addr) bool { return a == b })
	}
	return nil
}

// SetAdmit says whether this machine serves SSH (overlay:22) and for which peers. Open connections stay open: whoever
// decides about sessions ends them, and can still say why.
func (t *Tunnel) SetAdmit(ssh bool, peerIDs []string) { t.filter.SetAdmit(ssh, peerIDs) }

// Source names the peer behind a connection of Listener by its remote address.
func (t *Tunnel) Source(remote netip.AddrPort) (peerID string, ok bool) {
	return t.filter.Source(remote)
}

// Dial opens a TCP connection through the tunnel. In userspace mode it is the only way out.
func (t *Tunnel) Dial(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	if t.user != nil {
		return t.user.Dial(ctx, addr)
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr.String())
}

// Close ends the tunnel and waits for its goroutines. Connections that ended in this process's stack break; the
// kernel's have lost their way.
func (t *Tunnel) Close() error {
	t.closing.Do(func() {
		t.cancel()
		t.placing.Lock() // a Listener that is being made is closed below
		t.mu.Lock()
		l := t.listener
		inherits := t.inherits
		t.inherits = nil
		t.mu.Unlock()
		t.placing.Unlock()
		if l != nil {
			t.closed = l.Close()
		}
		for _, i := range inherits {
			_ = i.Close()
		}
		t.wg.Close() // closes the device and the sockets
		t.running.Wait()
		if t.aside != nil {
			t.closed = errors.Join(t.closed, t.aside.Close())
		}
	})
	return t.closed
}

// Intervals of maintain.
const (
	expireEvery = 10 * time.Second
	probeEvery  = time.Minute
)

// maintain forgets old flows and watches whether the host's firewall lets flows through.
func (t *Tunnel) maintain() {
	expire := time.NewTicker(expireEvery)
	defer expire.Stop()
	probe := time.NewTicker(probeEvery)
	defer probe.Stop()
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-expire.C:
			t.filter.Expire()
		case <-probe.C:
			t.choosePlace(false)
		case <-t.unanswered:
			t.choosePlace(true)
		}
	}
}

// logger passes WireGuard's words on.
func logger(log *slog.Logger) *device.Logger {
	l := &device.Logger{Verbosef: device.DiscardLogf, Errorf: func(format string, args ...any) {
		for _, a := range args {
			if err, ok := a.(error); ok && (errors.Is(err, errNoEndpoint) || errors.Is(err, net.ErrClosed)) {
				return
			}
		}
		log.Warn("wireguard: " + fmt.Sprintf(format, args...))
	}}
	if log.Enabled(context.Background(), slog.LevelDebug) {
		l.Verbosef = func(format string, args ...any) { log.Debug("wireguard: " + fmt.Sprintf(format, args...)) }
	}
	return l
}

func hexKey(k [32]byte) string { return hex.EncodeToString(k[:]) }
