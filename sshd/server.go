package sshd

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
	"lanyard/platform/spawn"
	"lanyard/sshd/flow"
	"lanyard/sshd/session/setup"
)

// Server serves SSH.
type Server struct {
	cfg    Config
	ssh    ssh.ServerConfig // without callbacks, which each connection brings
	scopes *spawn.Scopes
	system *setup.System
	// refusals of late, which delay handshakes
	refusals *refusals

	life context.Context // ends with Close
	stop context.CancelFunc
	wg   sync.WaitGroup

	facts atomic.Pointer[facts]

	mu        sync.Mutex // guards the rest
	closed    bool
	listeners map[net.Listener]bool
	conns     map[*conn]bool // all
	live      map[*conn]bool // those with a grant, also one that is not decided yet
	pending   map[string]int // connections that have not authenticated, by source peer
	waiting   int            // their sum
	prompts   map[string]int // of those, who wait for a person to sign in
	prompting int            // their sum
	ticking   bool           // watch runs

	deciding sync.Mutex // held while all sessions are decided again; guards the rest
	told     *State     // what Changed decided by last
	early    []string   // ended by a newer State, before Changed was called
}

// New makes a server. Serve may be called for several listeners.
func New(cfg Config) (*Server, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, ssh: algorithms(), scopes: spawn.NewScopes(), system: setup.Open(), refusals: newRefusals(cfg.Now, cfg.Limits),
		listeners: make(map[net.Listener]bool), conns: make(map[*conn]bool),
		live: make(map[*conn]bool), pending: make(map[string]int), prompts: make(map[string]int),
	}
	s.ssh.MaxAuthTries = cfg.Limits.AuthTries
	for _, k := range cfg.HostKeys {
		s.ssh.AddHostKey(k)
	}
	s.life, s.stop = context.WithCancel(context.Background())
	return s, nil
}

// Serve serves the connections of l until it fails or the server is closed, when it returns nil.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return l.Close()
	}
	s.listeners[l] = true
	s.wg.Add(1)
	s.mu.Unlock()
	defer s.wg.Done()
	for {
		nc, err := l.Accept()
		if err != nil && temporary(err) {
			s.cfg.Log.Warn("cannot accept a connection", "err", err)
			select {
			case <-time.After(acceptPause):
				continue
			case <-s.life.Done():
			}
		}
		if err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.listeners, l)
			if s.closed || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		s.accept(nc)
	}
}

// acceptPause lets descriptors come free when there are none.
const acceptPause = 50 * time.Millisecond

// temporary reports whether accepting may work again: out of descriptors, or a client that has left already.
func temporary(err error) bool {
	t, ok := err.(interface{ Temporary() bool })
	return ok && t.Temporary() && !errors.Is(err, net.ErrClosed)
}

// accept checks where a connection comes from and begins its handshake.
func (s *Server) accept(nc net.Conn) {
	remote, ok := addrPort(nc.RemoteAddr())
	if !ok {
		nc.Close()
		return
	}
	source, ok := s.cfg.Source(remote)
	if !ok {
		s.cfg.Log.Debug("closed a connection that did not come through the tunnel", "from", remote)
		nc.Close()
		return
	}
	now := s.cfg.Now()
	c := &conn{
		s: s, id: api.NewID("s"), nc: flow.Wrap(nc), remote: remote, source: source, started: now,
		gone: make(chan struct{}),
	}
	c.last.Store(now.UnixNano())
	if !s.admit(c) {
		s.cfg.Log.Warn("too many connections that have not signed in", "source", source.Name, "from", remote)
		nc.Close()
		return
	}
	// The handshake needs deep stacks; a goroutine of its own gives them back.
	go c.handshake()
}

// admit registers a new connection, unless there are too many or the server is closing.
func (s *Server) admit(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.cfg.Limits
	if s.closed || s.waiting >= l.Pending || s.pending[c.source.ID] >= l.PendingPerSource {
		return false
	}
	s.waiting++
	s.pending[c.source.ID]++
	s.conns[c] = true
	s.wg.Add(1)
	return true
}

// authenticated ends c's time among the pending.
func (s *Server) authenticated(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting--
	if s.pending[c.source.ID]--; s.pending[c.source.ID] == 0 {
		delete(s.pending, c.source.ID)
	}
}

// register makes c one of those that Changed looks at. It comes before c's decision.
func (s *Server) register(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live[c] = true
	if !s.ticking && !s.closed {
		s.ticking = true
		s.wg.Add(1)
		go s.watch()
	}
}

func (s *Server) unregister(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, c)
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.live, c)
	delete(s.conns, c)
	s.mu.Unlock()
	s.wg.Done()
}

func (s *Server) liveConns() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*conn, 0, len(s.live))
	for c := range s.live {
		all = append(all, c)
	}
	return all
}

// redecide is how many ticks pass between two decisions that only time can have changed (age of the map,
// lifetime of the login).
const redecide = 5

// watch looks at time limits while there are sessions.
func (s *Server) watch() {
	defer s.wg.Done()
	t := time.NewTicker(s.cfg.Limits.Tick)
	defer t.Stop()
	for n := 0; ; n++ {
		select {
		case <-t.C:
		case <-s.life.Done():
			return
		}
		s.mu.Lock()
		if len(s.live) == 0 {
			s.ticking = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		for _, c := range s.liveConns() {
			c.checkTime()
			c.checkAlive()
		}
		if n%redecide == 0 {
			s.look()
		}
	}
}

// look decides every session again, unasked.
func (s *Server) look() {
	s.deciding.Lock()
	defer s.deciding.Unlock()
	// Whoever has just put a new State in force is about to ask what it ended.
	if ended := s.decide(); s.cfg.State() != s.told {
		s.early = append(s.early, ended...)
	}
}

// Changed decides every session again after a change of State, ends those that are not allowed any more and
// returns their ids. It does not wait for their end, which takes a fraction of a second and happens to all at once.
func (s *Server) Changed() []string {
	s.deciding.Lock()
	defer s.deciding.Unlock()
	s.told = s.cfg.State()
	ended := append(s.decide(), s.early...)
	s.early = nil
	slices.Sort(ended)
	return ended
}

// decide ends what is not allowed any more. The caller holds s.deciding.
func (s *Server) decide() []string {
	var ended []string
	for _, c := range s.liveConns() {
		if code := c.review(); code != reason.OK && c.end(code) {
			ended = append(ended, c.id)
		}
	}
	return ended
}

// Sessions lists the authenticated connections, oldest first.
func (s *Server) Sessions() []SessionInfo {
	var all []SessionInfo
	for _, c := range s.liveConns() {
		if i, ok := c.info(); ok {
			all = append(all, i)
		}
	}
	slices.SortFunc(all, func(a, b SessionInfo) int { return a.Since.Compare(b.Since) })
	return all
}

// Busy reports whether there is any connection, signed in or not.
func (s *Server) Busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns) > 0
}

// End ends a session with this reason, and reports whether there was one.
func (s *Server) End(id string, c reason.Code) bool {
	for _, x := range s.liveConns() {
		if x.id == id {
			return x.end(c)
		}
	}
	return false
}

// EndAll ends all sessions, with every process of theirs.
func (s *Server) EndAll(c reason.Code) {
	for _, x := range s.liveConns() {
		x.end(c)
	}
}

// Close ends all sessions with reason "shutdown", closes the listeners and waits for everything to stop. Work that
// was meant to outlive its session (nohup) goes on.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	var errs []error
	for l := range s.listeners {
		errs = append(errs, l.Close())
	}
	var conns []*conn
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.end(reason.Shutdown)
	}
	for _, c := range conns {
		<-c.gone
	}
	s.stop()
	s.wg.Wait()
	errs = append(errs, s.system.Close())
	return errors.Join(errs...)
}

// run runs f in a goroutine that Close waits for.
func (s *Server) run(f func()) {
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		f()
	}()
}

func addrPort(a net.Addr) (netip.AddrPort, bool) {
	if t, ok := a.(interface{ AddrPort() netip.AddrPort }); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port()), ap.IsValid()
	}
	ap, err := netip.ParseAddrPort(a.String())
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port()), err == nil
}

// facts are what decisions need of a map, in the form they need it.
type facts struct {
	m     *api.Map
	users map[api.UserRef]api.MapUser
	peers map[string]api.Peer
	// silent logins, with the time of the newest token that was seen of each
	silent map[string]time.Time
}

func (s *Server) factsOf(m *api.Map) *facts {
	if f := s.facts.Load(); f != nil && f.m == m {
		return f
	}
	f := &facts{m: m, users: make(map[api.UserRef]api.MapUser, len(m.Users)), peers: make(map[string]api.Peer, len(m.Peers))}
	for _, u := range m.Users {
		f.users[u.UserRef] = u
	}
	for _, p := range m.Peers {
		f.peers[p.ID] = p
	}
	if len(m.Silent) > 0 {
		f.silent = make(map[string]time.Time, len(m.Silent))
		for _, l := range m.Silent {
			f.silent[l.Key] = l.Since
		}
	}
	s.facts.Store(f)
	return f
}
