package daemon

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/client"
	"lanyard/platform/paths"
	"lanyard/service/limits"
	"lanyard/service/machine"
	"lanyard/service/names"
	"lanyard/service/netmap"
	"lanyard/service/sshconfig"
	"lanyard/service/tunnel"
	"lanyard/sshd"
)

const (
	// lastWords is how long a peer that left the map keeps its tunnel, so that the reason of a session that ended by it
	// reaches the person's screen. New connections are refused at once.
	lastWords = time.Second
	// lookEvery is how often this machine's own facts are compared with what the management server knows.
	lookEvery = 3 * time.Second
)

// network is what runs while the machine is up.
type network struct {
	d      *Daemon
	client *client.Client
	store  *netmap.Store
	ssh    *sshd.Server
	inUse  atomic.Pointer[sshd.State]
	limits atomic.Pointer[limits.Limits] // the machine's own
	self   chan struct{}                 // this machine's facts changed
	// unknown are keys of issuers to ask the management server for
	unknown chan api.UnknownKey
	fatal   error // why nothing runs; the other fields may be nil then

	applying sync.Mutex // one map at a time

	mu        sync.Mutex // guards what follows
	tun       *tunnel.Tunnel
	addrs     [2]netip.Addr // that tun was opened with
	serving   bool          // ssh serves tun's listener
	peers     []tunnel.Peer // of the map in force
	inTunnel  []tunnel.Peer // those, and the ones that linger
	lingering *time.Timer
	problems  map[string]error // by part: a sentence
	online    bool
	heard     time.Time
	present   map[string]word // by peer id: who is connected, as the management server says while it is
	asked     time.Time       // for an unknown key
	limitsAt  os.FileInfo     // as they were read; nil: there were none

	cancel    context.CancelFunc
	following sync.WaitGroup // ends with cancel
	serves    sync.WaitGroup // ends when ssh closes
}

// openNetwork brings the machine up with the map on disk and begins to follow. Faults show in problems.
func (d *Daemon) openNetwork() *network {
	ctx, cancel := context.WithCancel(context.Background())
	n := &network{d: d, self: make(chan struct{}, 1), unknown: make(chan api.UnknownKey, 1), problems: map[string]error{}, cancel: cancel}
	n.limits.Store(limits.Broken()) // until they were read
	if n.fatal = n.open(ctx); n.fatal != nil {
		d.log.Error("the network cannot be brought up", "err", n.fatal)
		n.problem("network", n.fatal)
	}
	return n
}

func (n *network) open(ctx context.Context) (err error) {
	d, st := n.d, n.d.machine.State()
	if n.client, err = client.New(st.Server); err != nil {
		return err
	}
	var notice string
	n.store, notice, err = netmap.Open(d.paths.MapFile, netmap.Pin{Key: st.MapKey, Network: st.Network, Peer: st.PeerID}, st.Map,
		func(p netmap.Place) error { return d.machine.Update(func(s *machine.State) { s.Map = p }) })
	if err != nil {
		return err
	}
	if notice != "" {
		d.log.Warn(notice)
		n.problem("map", errors.New(notice))
	}
	n.ssh, err = sshd.New(sshd.Config{
		HostKeys: []ssh.Signer{d.machine.HostKey()},
		Self:     func() string { return st.PeerID },
		Source:   n.source,
		State:    n.inUse.Load,
		Audit:    d.record,
		SignIn:   n.signIn,
		Helper:   []string{d.opt.Program, "openssh"},
		Starter:  []string{d.helper, "openssh"},
		Log:      d.log, Now: d.now,
		UnknownKey: n.unknownKey,
	})
	if err != nil {
		return err
	}
	n.readLimits()
	if m := n.store.Current(); m != nil {
		n.apply(m)
		n.written(m)
	}
	f := &netmap.Follower{
		Client: n.client, Machine: client.Machine{Key: d.machine.Key(), Subject: st.PeerID},
		Store: n.store, Outbox: d.spool, Apply: n.apply, Kept: n.written,
		Self: n.facts, SelfChanged: n.self, Unknown: n.unknown, Report: n.report, Presence: n.presence, Log: d.log,
	}
	n.following.Go(func() {
		if err := f.Run(ctx); err != nil {
			d.wg.Go(func() { d.removed(n, err) })
		}
	})
	n.following.Go(func() { n.look(ctx) })
	return nil
}

func (n *network) close() error {
	n.cancel()
	n.following.Wait()
	n.applying.Lock()
	defer n.applying.Unlock()
	n.d.old.Stop()
	var errs []error
	if n.ssh != nil {
		errs = append(errs, n.ssh.Close())
	}
	n.mu.Lock()
	tun, timer := n.tun, n.lingering
	n.tun, n.lingering = nil, nil
	n.mu.Unlock()
	if timer != nil {
		timer.Stop()
	}
	if tun != nil {
		errs = append(errs, tun.Close())
	}
	n.serves.Wait()
	return errors.Join(errs...)
}

// apply puts m in force. Revocations act first: sessions are decided again before anything that takes time.
func (n *network) apply(m *api.Map) (ended []string) {
	n.applying.Lock()
	defer n.applying.Unlock()
	st := n.d.machine.State()
	n.decideBy(m, st.AllowSSH)
	ended = append(n.ssh.Changed(), n.d.old.Apply(m, st.AllowSSH)...)
	n.problem("tunnel", n.setTunnel(m, st))
	n.d.notify()
	return ended
}

// again puts the map in force once more, after a change of this machine's own settings.
func (n *network) again() {
	if n.fatal != nil {
		return
	}
	if m := n.store.Current(); m != nil {
		n.apply(m)
		n.written(m)
	}
	n.selfChanged()
}

// setTunnel opens the tunnel when that is still to do, and hands it the map. Peers that leave linger at both ends: the
// reason of an ended session, and its FIN, go through the tunnel that the same map takes away.
func (n *network) setTunnel(m *api.Map, st machine.State) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.forget(m)
	if addrs := [2]netip.Addr{m.Self.Addr4, m.Self.Addr6}; n.tun == nil || n.addrs != addrs {
		if n.tun != nil {
			n.tun.Close() // the address is another one: nothing of the old tunnel can go on
			n.tun, n.serving, n.peers, n.inTunnel = nil, false, nil, nil
		}
		tun, err := n.openTunnel(m, st)
		if err != nil {
			return err
		}
		n.tun, n.addrs = tun, addrs
		n.selfChanged() // its endpoints
	}
	serve := st.AllowSSH && len(m.Rules) > 0
	n.tun.SetAdmit(serve, m.Admit)
	if serve && !n.serving {
		n.serving = true
		l := n.tun.Listener()
		n.serves.Go(func() {
			if err := n.ssh.Serve(l); err != nil && !errors.Is(err, net.ErrClosed) {
				n.problem("ssh", err)
			}
		})
	}
	peers := tunnelPeers(m)
	if n.lingering != nil {
		n.lingering.Stop()
		n.lingering = nil
	}
	all := withLeaving(peers, n.inTunnel)
	n.peers, n.inTunnel = peers, all
	if len(all) == len(peers) {
		return n.tun.SetPeers(peers)
	}
	tun := n.tun
	n.lingering = time.AfterFunc(lastWords, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.tun == tun {
			n.inTunnel = n.peers
			if err := n.tun.SetPeers(n.peers); err != nil {
				n.d.log.Warn("machines that left are still in the tunnel until the next change", "err", err)
			}
		}
	})
	return n.tun.SetPeers(all)
}

// withLeaving adds to peers those of before that left, unless one of peers has their key or an address of theirs.
func withLeaving(peers, before []tunnel.Peer) []tunnel.Peer {
	all := slices.Clone(peers)
	for _, old := range before {
		if !slices.ContainsFunc(peers, func(p tunnel.Peer) bool {
			return p.ID == old.ID || p.PublicKey == old.PublicKey ||
				slices.ContainsFunc(p.Addrs, func(a netip.Addr) bool { return slices.Contains(old.Addrs, a) })
		}) {
			all = append(all, old)
		}
	}
	return all
}

func (n *network) openTunnel(m *api.Map, st machine.State) (*tunnel.Tunnel, error) {
	userspace := n.userspace()
	resume := n.d.taken
	n.d.taken = nil
	if userspace && resume != nil {
		_ = resume.Close()
		resume = nil
	}
	if resume == nil {
		if err := n.d.beside(m.Overlay4); err != nil {
			return nil, err
		}
	}
	if !userspace && resume == nil {
		for _, p := range []netip.Prefix{m.Overlay4, m.Overlay6} {
			if !p.IsValid() {
				continue
			}
			if err := tunnel.CheckOverlay(p); err != nil {
				return nil, err
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	name := ""
	if n.d.opt.Profile != paths.DefaultProfile {
		name = ("ly-" + n.d.opt.Profile)[:min(15, 3+len(n.d.opt.Profile))] // IFNAMSIZ
	}
	return tunnel.Open(ctx, tunnel.Config{
		Name: name, PrivateKey: n.d.machine.WGPrivate(), ListenPort: n.d.opt.ListenPort,
		Addr4: m.Self.Addr4, Addr6: m.Self.Addr6, Overlay4: m.Overlay4, Overlay6: m.Overlay6,
		Userspace: userspace, Resume: resume,
		// A management server on loopback has all its machines on this one.
		LoopbackEndpoints: onLoopback(st.Server),
		Log:               n.d.log, Now: n.d.now,
	})
}

func onLoopback(server string) bool {
	u, _, err := client.Parse(server)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
}

func tunnelPeers(m *api.Map) []tunnel.Peer {
	peers := make([]tunnel.Peer, 0, len(m.Peers))
	for _, p := range m.Peers {
		t := tunnel.Peer{ID: p.ID, PublicKey: [32]byte(p.WGKey), Endpoints: p.Endpoints}
		for _, a := range []netip.Addr{p.Addr4, p.Addr6} {
			if a.IsValid() {
				t.Addrs = append(t.Addrs, a)
			}
		}
		peers = append(peers, t)
	}
	return peers
}

// source says which peer of the map in force a connection comes from.
func (n *network) source(remote netip.AddrPort) (api.Peer, bool) {
	st := n.inUse.Load()
	tun := n.tunnel()
	if st == nil || tun == nil {
		return api.Peer{}, false
	}
	id, ok := tun.Source(remote)
	if !ok {
		return api.Peer{}, false
	}
	i := slices.IndexFunc(st.Map.Peers, func(p api.Peer) bool { return p.ID == id })
	if i < 0 {
		return api.Peer{}, false
	}
	return st.Map.Peers[i], true
}

func (n *network) tunnel() *tunnel.Tunnel {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.tun
}

// written brings OpenSSH's configuration up to date with a map that is on disk.
func (n *network) written(m *api.Map) {
	n.mu.Lock()
	unusable := errors.Is(n.problems["tunnel"], errSameRange)
	n.mu.Unlock()
	if unusable {
		return
	}
	files, err := sshconfig.Apply(sshconfig.Input{
		Map: m, Paths: n.d.paths, Program: n.d.opt.Program, Helper: n.d.helper, Userspace: n.userspace(),
	})
	if files != nil {
		for _, why := range files.LeftOut {
			n.d.log.Warn("a machine is not in the ssh configuration", "why", why)
		}
	}
	n.problem("ssh_config", err)
	if n.d.paths.System && !n.userspace() { // else only ssh reaches the overlay
		n.problem("names", names.Apply(names.Hosts(), n.d.paths.Profile, m))
	}
}

// unwrite takes away what written wrote.
func (d *Daemon) unwrite() error { return errors.Join(sshconfig.Remove(d.paths), d.forgetNames()) }

func (d *Daemon) forgetNames() error {
	if !d.paths.System {
		return nil
	}
	return names.Remove(names.Hosts(), d.paths.Profile)
}

func (n *network) userspace() bool {
	return n.d.opt.Userspace || n.d.machine.State().Userspace || !paths.Privileged() || !tunnel.HasDriver()
}

// facts are what this machine tells about itself.
func (n *network) facts() api.SelfUpdate {
	u := api.SelfUpdate{
		HostKeys: n.d.machine.SignedHostKeys(), ServesSSH: n.d.machine.State().AllowSSH,
		Release: n.d.opt.Release, OS: runtime.GOOS,
	}
	if tun := n.tunnel(); tun != nil {
		u.Endpoints = tun.Endpoints()
	}
	return u
}

func (n *network) selfChanged() {
	select {
	case n.self <- struct{}{}:
	default:
	}
}

// look notices what nobody reports: other local addresses, a map that grew too old.
func (n *network) look(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var before []netip.AddrPort
	stale := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if tun := n.tunnel(); tun != nil {
			now := tun.Endpoints()
			slices.SortFunc(now, func(a, b netip.AddrPort) int {
				return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Port(), b.Port()))
			})
			if !slices.Equal(before, now) {
				before = now
				n.selfChanged()
			}
		}
		if n.limitsChanged() {
			n.readLimits()
			n.again()
		}
		if st := n.inUse.Load(); st != nil && st.Map != nil && stale != n.stale(st.Map) {
			if stale = !stale; stale {
				n.d.log.Warn("the network map is older than it may be; its rules admit nobody", "issued", st.Map.IssuedAt)
				n.applying.Lock()
				n.ssh.Changed()
				n.applying.Unlock()
			}
			n.d.notify()
		}
	}
}

func (n *network) stale(m *api.Map) bool { return n.d.now().Sub(m.IssuedAt) > netmap.MaxAge(m) }

// report is told by the follower how the connection to the management server is.
func (n *network) report(connected bool, err error) {
	if connected {
		n.selfChanged()
	}
	n.mu.Lock()
	n.online, n.present = connected, nil
	n.heard = n.d.now()
	n.mu.Unlock()
	part := "server"
	if gone := (*netmap.GoneError)(nil); errors.As(err, &gone) {
		part = "removed"
	}
	n.problem(part, err)
	n.d.notify()
}

// problem notes or (nil) forgets what is wrong with a part.
func (n *network) problem(part string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil {
		delete(n.problems, part)
		return
	}
	n.problems[part] = err
}
