package tunnel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"lanyard/platform/hostfw"
	"lanyard/service/redirect"
	"lanyard/service/tunnel/netstack"
)

// Listener yields the connections that admitted peers open to overlay:22, and nothing else: what is not in the flow table
// is closed. A connection's remote address is the peer's in the overlay; its local port may be 22022. There is one
// Listener per tunnel; closing it stops serving, and the next call starts anew.
func (t *Tunnel) Listener() net.Listener {
	t.placing.Lock()
	defer t.placing.Unlock()
	t.mu.Lock()
	if t.listener != nil {
		defer t.mu.Unlock()
		return t.listener
	}
	inherits := t.inherits
	t.inherits = nil
	t.mu.Unlock()

	l := &listener{t: t, conns: make(chan net.Conn), done: make(chan struct{})}
	if t.ctx.Err() != nil {
		_ = l.Close()
		return l
	}
	why := "connections end in a socket of this machine"
	if t.user != nil {
		why = "this machine's end of the tunnel is a network stack in this process (userspace mode)"
		for _, a := range t.addrs {
			l.listen(t.user, a)
		}
	} else {
		l.listenKernel(inherits)
	}
	t.mu.Lock()
	t.listener, t.place, t.why = l, [2]redirect.Place{}, why
	t.mu.Unlock()
	t.placeFlows(l, false)
	return l
}

func (l *listener) listenKernel(inherits []net.Listener) {
	for _, a := range l.t.addrs {
		on := netip.AddrPortFrom(a, redirect.PortListen)
		var ln net.Listener
		for _, i := range inherits {
			if i.Addr().String() == on.String() {
				ln = i
			}
		}
		if ln == nil {
			var err error
			if ln, err = listenTCP(l.t.ctx, l.t.name, on); err != nil {
				l.missing = append(l.missing, missing{a, err})
				continue
			}
		}
		l.kernel = append(l.kernel, ln)
		l.serve(ln)
	}
}

// choosePlace looks again where new flows should end. With force, the in-process stack is made ready even when the probe
// passes: the kernel left a peer unanswered all the same.
func (t *Tunnel) choosePlace(force bool) {
	t.placing.Lock()
	defer t.placing.Unlock()
	t.mu.Lock()
	l := t.listener
	t.mu.Unlock()
	if l != nil {
		t.placeFlows(l, force)
	}
}

// placeFlows probes and sets the place of new flows. The caller holds placing.
func (t *Tunnel) placeFlows(l *listener, force bool) {
	if t.user != nil {
		return
	}
	var place [2]redirect.Place
	why := "connections end in a socket of this machine"
	for i, own := range []netip.Addr{t.cfg.Addr4, t.cfg.Addr6} {
		if !own.IsValid() {
			continue
		}
		err := l.missingOn(own)
		if err == nil {
			from, ok := t.unusedAddr(i)
			if !ok {
				continue
			}
			if err = t.dev.Probe(t.ctx, own, from); err != nil && !errors.Is(err, redirect.ErrBlocked) {
				return // closing
			}
		}
		if err == nil {
			continue
		}
		place[i] = redirect.Netstack
		why = fmt.Sprintf("%v, so connections end in a network stack in this process", err)
		if name := hostfw.Name(); name != "" && errors.Is(err, redirect.ErrBlocked) {
			why = fmt.Sprintf("this machine's firewall, %s, drops port %d on %s, so connections end in a network stack in this process",
				name, redirect.PortListen, t.name)
		}
	}
	divert := t.stackBeside(force || place != [2]redirect.Place{}, l)
	t.mu.Lock()
	changed := t.place != place
	t.place, t.why = place, why
	t.mu.Unlock()
	t.filter.SetPlace(place[0], place[1], divert)
	if changed {
		t.cfg.Log.Info("where connections to port 22 of the overlay end", "ipv4", place[0].String(), "ipv6", place[1].String(), "why", why)
	}
}

// stackBeside says whether the in-process stack is there, and makes it when it is wanted.
func (t *Tunnel) stackBeside(wanted bool, l *listener) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if wanted && t.aside == nil && t.ctx.Err() == nil {
		var addrs []netip.Addr // also those that the system would not take
		for _, a := range []netip.Addr{t.cfg.Addr4, t.cfg.Addr6} {
			if a.IsValid() {
				addrs = append(addrs, a)
			}
		}
		s, err := netstack.New(addrs, t.cfg.MTU)
		if err != nil {
			t.cfg.Log.Error("make a network stack beside the kernel's", "error", err)
			return false
		}
		t.aside = s
		t.dev.Attach(s)
	}
	if t.aside != nil && !l.aside {
		l.aside = true
		for _, a := range []netip.Addr{t.cfg.Addr4, t.cfg.Addr6} {
			if a.IsValid() {
				l.listen(t.aside, a)
			}
		}
	}
	return t.aside != nil
}

// unusedAddr finds an overlay address that nobody has, from the end of the range.
func (t *Tunnel) unusedAddr(family int) (netip.Addr, bool) {
	prefix := []netip.Prefix{t.cfg.Overlay4, t.cfg.Overlay6}[family]
	if !prefix.IsValid() || prefix.Addr().BitLen()-prefix.Bits() < 3 {
		return netip.Addr{}, false
	}
	last := prefix.Masked().Addr().AsSlice()
	for i := prefix.Bits(); i < len(last)*8; i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(last)
	t.mu.Lock()
	defer t.mu.Unlock()
	used := map[netip.Addr]bool{t.cfg.Addr4: true, t.cfg.Addr6: true}
	for _, p := range t.peers {
		for _, b := range p.Addrs {
			used[b] = true
		}
	}
	for a = a.Prev(); prefix.Contains(a); a = a.Prev() { // the very last is IPv4's broadcast address
		if !used[a] {
			return a, true
		}
	}
	return netip.Addr{}, false
}

const acceptPause = 20 * time.Millisecond // after an error of Accept

// listener joins the kernel's listeners and the in-process stack's.
type listener struct {
	t       *Tunnel
	conns   chan net.Conn
	done    chan struct{}
	once    sync.Once
	running sync.WaitGroup
	kernel  []net.Listener
	missing []missing // addresses that the kernel's listener could not have
	aside   bool      // listens in the stack beside; guarded by Tunnel.mu

	mu  sync.Mutex // guards all
	all []net.Listener
}

type missing struct {
	addr netip.Addr
	err  error
}

func (l *listener) missingOn(a netip.Addr) error {
	for _, m := range l.missing {
		if m.addr == a {
			return m.err
		}
	}
	return nil
}

func (l *listener) kernelListeners() []*net.TCPListener {
	var all []*net.TCPListener
	for _, k := range l.kernel {
		if t, ok := k.(*net.TCPListener); ok {
			all = append(all, t)
		}
	}
	return all
}

func (l *listener) listen(s *netstack.Stack, a netip.Addr) {
	ln, err := s.Listen(netip.AddrPortFrom(a, redirect.PortListen))
	if err != nil {
		l.t.cfg.Log.Error("listen in the network stack of this process", "error", err)
		return
	}
	l.serve(ln)
}

func (l *listener) serve(ln net.Listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.done:
		_ = ln.Close()
		return
	default:
	}
	l.all = append(l.all, ln)
	l.running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				if errors.Is(err, net.ErrClosed) {
					return
				}
				// The connection went away before it was accepted, or descriptors ran out.
				select {
				case <-time.After(acceptPause):
				case <-l.done:
				}
				continue
			}
			remote, ok := c.RemoteAddr().(*net.TCPAddr)
			if ok {
				_, ok = l.t.filter.Source(remote.AddrPort())
			}
			if !ok {
				_ = c.Close()
				continue
			}
			select {
			case l.conns <- c:
			case <-l.done:
				_ = c.Close()
				return
			}
		}
	})
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Addr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(l.t.addrs[0], redirect.PortSSH))
}

func (l *listener) Close() error {
	l.once.Do(func() {
		l.mu.Lock()
		close(l.done)
		all := l.all
		l.mu.Unlock()
		for _, ln := range all {
			_ = ln.Close()
		}
		l.running.Wait()
		l.t.mu.Lock()
		if l.t.listener == l {
			l.t.listener = nil
		}
		l.t.mu.Unlock()
	})
	return nil
}
