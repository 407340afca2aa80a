package sshd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/reason"
	"lanyard/platform/spawn"
	"lanyard/sshd/flow"
	"lanyard/sshd/forward"
	"lanyard/sshd/session"
	"lanyard/sshd/sftp"
)

// conn is one connection, from accept to its end.
type conn struct {
	s       *Server
	id      string // session id
	nc      *flow.Conn
	remote  netip.AddrPort
	source  api.Peer
	started time.Time
	sc      ssh.Conn // nil before serve
	worker  *forward.Worker
	noMore  atomic.Bool // no-more-sessions@openssh.com
	alive   signs
	last    atomic.Int64  // Unix nanoseconds of the last bytes on a channel
	gone    chan struct{} // closed when all is over

	agentMu sync.Mutex // held while the agent's socket is made

	mu       sync.Mutex // guards the rest
	told     reason.Code
	prompts  bool // a person may sign in at a prompt
	prompted bool // and was asked to
	refusals int
	grant    *grant
	begun    bool        // SessionStart was recorded
	ended    reason.Code // "" while nothing ended it
	life     context.CancelFunc
	scope    *spawn.Scope
	sessions map[*session.Session]bool
	forwards map[*forwarded]bool
	open     int // channels
	serving  bool
	fileLog  fileLog
	closed   bool
	dead     bool // the client gave no sign of life
	// listeners of the client's requests, by name, and what ends each.
	listeners map[string]func()
	agentPath string
}

// handshake runs until the connection is authenticated or refused.
func (c *conn) handshake() {
	grace := time.Now().Add(c.s.cfg.Limits.LoginGrace)
	_ = c.nc.SetDeadline(grace)
	if d := c.s.refusals.delay(c.source.ID); d > 0 {
		c.s.cfg.Log.Info("a machine that was refused often waits", "source", c.source.Name, "for", d)
		c.wait(d)
	}
	var user string
	var tries int
	cfg := c.config()
	_ = c.nc.Greet(cfg.ServerVersion + "\r\n") // a connection that has failed fails again below
	cfg.MACs = macsFor(c.nc.Peek(min(identifyTime, c.s.cfg.Limits.LoginGrace)), cfg.MACs)
	_ = c.nc.SetReadDeadline(grace)
	cfg.AuthLogCallback = func(m ssh.ConnMetadata, method string, _ error) {
		if user = m.User(); method != "none" { // by which clients learn the other methods
			tries++
		}
	}
	sc, chans, reqs, err := ssh.NewServerConn(c.nc, cfg)
	c.s.authenticated(c)
	if err == nil {
		_ = c.nc.SetDeadline(time.Time{})
		if _, ok := sc.Permissions.ExtraData[grantKey{}].(*grant); !ok {
			err = errors.New("authentication left no grant")
			sc.Close()
		}
	}
	if err != nil {
		c.s.cfg.Log.Debug("handshake failed", "source", c.source.Name, "err", err)
		c.refusedBefore(user)
		if c.guessed(tries) {
			c.s.refusals.add(c.source.ID)
		}
		c.nc.Close()
		c.over()
		return
	}
	c.s.refusals.clear(c.source.ID)
	g := sc.Permissions.ExtraData[grantKey{}].(*grant)
	c.sc = sc
	go c.serve(g, chans, reqs)
}

// grace is the time that the client has for what comes next of its authentication.
func (c *conn) grace() { _ = c.nc.SetDeadline(time.Now().Add(c.s.cfg.Limits.LoginGrace)) }

// serve answers the client's channels and requests until the connection ends.
func (c *conn) serve(g *grant, chans <-chan ssh.NewChannel, reqs <-chan *ssh.Request) {
	life, cancel := context.WithCancel(c.s.life)
	c.mu.Lock()
	c.life = cancel
	c.scope = c.s.scopes.Open(c.id)
	c.serving = true
	c.worker = forward.NewWorker(g.account, c.s.cfg.Helper, c.s.scopes.Open(c.id+"-forward"), c.s.run, c.s.cfg.ends.worker)
	ended := c.ended
	c.mu.Unlock()
	if ended != "" {
		c.nc.Close()
	}
	asked := make(chan struct{})
	c.s.run(func() {
		defer close(asked)
		c.requests(life, g, reqs)
	})
	for nch := range chans {
		if c.noMore.Load() && nch.ChannelType() == "session" {
			_ = nch.Reject(ssh.Prohibited, "the client said that there would be no more sessions")
			continue
		}
		c.channel(life, g, nch)
	}
	cancel() // a request under way, too
	<-asked
	c.over()
}

// over records the end and forgets the connection.
func (c *conn) over() {
	c.mu.Lock()
	c.closed = true
	dead := c.dead
	g, begun, code, scope, worker := c.grant, c.begun, c.ended, c.scope, c.worker
	c.mu.Unlock()
	if worker != nil {
		worker.Close()
	}
	if begun {
		e := c.event(audit.SessionEnd, g)
		if e.Reason = code; code == "" {
			e.Reason = reason.OK
		}
		if dead {
			e.Detail = "the client gave no sign of life any more"
		}
		e.DurationMS = c.since(c.started)
		_ = c.s.record(e)
	}
	if scope != nil && code == "" {
		scope.Close()
	}
	close(c.gone)
	c.s.forget(c)
}

// review decides the session again. Where it goes on, channels that have lost what they use end.
func (c *conn) review() reason.Code {
	c.mu.Lock()
	g := c.grant
	c.mu.Unlock()
	if g == nil {
		return reason.OK
	}
	d := c.decide(g, true)
	if d.Allowed() {
		c.mu.Lock()
		if c.begun {
			g.decided = d
		}
		sessions := c.openSessions()
		c.mu.Unlock()
		c.reviewForwards(g)
		for _, s := range sessions {
			s.Review(func(k api.Capability) bool {
				c.mu.Lock()
				defer c.mu.Unlock()
				return g.decided.Has(k)
			})
		}
		return reason.OK
	}
	switch d.Code {
	case reason.NoRule, reason.LocalUser, reason.Privileged, reason.SignInOff, reason.OwnDevice, reason.MFA, reason.OtherMachine:
		return reason.PolicyGone // the person had access a moment ago
	}
	return d.Code
}

// openSessions lists the session channels. The caller holds c.mu.
func (c *conn) openSessions() []*session.Session { return slices.Collect(maps.Keys(c.sessions)) }

// checkTime ends the session at its limits.
func (c *conn) checkTime() {
	c.mu.Lock()
	var longest, idle time.Duration
	if c.grant != nil {
		longest, idle = c.grant.decided.MaxSession, c.grant.decided.Idle
	}
	c.mu.Unlock()
	c.recordCounts("")
	now := c.s.cfg.Now()
	switch {
	case longest > 0 && now.Sub(c.started) >= longest:
		c.end(reason.MaxTime)
	case idle > 0 && now.Sub(time.Unix(0, c.last.Load())) >= idle:
		c.end(reason.Idle)
	}
}

// signs of life of a client. Only Server.watch's goroutine uses them.
type signs struct {
	looked time.Time
	reads  uint64 // of the connection, then
	asked  int    // for a sign, since the last one
}

// checkAlive asks a silent client for a sign of life, and closes the connection of one that gives none: as if it had
// hung up, so what was to outlive the session does.
func (c *conn) checkAlive() {
	c.mu.Lock()
	serving := c.serving && !c.dead
	c.mu.Unlock()
	l, now := c.s.cfg.Limits, c.s.cfg.Now()
	if !serving || l.Alive < 0 || now.Sub(c.alive.looked) < l.Alive {
		return
	}
	reads := c.nc.Reads()
	if first := c.alive.looked.IsZero(); first || reads != c.alive.reads {
		c.alive = signs{looked: now, reads: reads}
		return
	}
	c.alive.looked = now
	if c.alive.asked++; c.alive.asked > l.AliveMax {
		c.s.cfg.Log.Info("a client gave no sign of life", "session", c.id, "peer", c.source.Name)
		c.mu.Lock()
		c.dead = true
		c.mu.Unlock()
		c.s.run(func() { c.nc.Close() }) // which takes its time, as the client takes nothing
		return
	}
	c.s.run(func() { _, _, _ = c.sc.SendRequest("keepalive@openssh.com", true, nil) }) // any answer is one
}

// endTimes bound an end.
type endTimes struct {
	// told is how long the client may take to receive the reason, and the processes to die: who sees the connection
	// close may rely on their end.
	told time.Duration
	// closed is how long the client may take to hang up by itself. A connection that is cut at once may lose what it has
	// not read yet (a reset overtakes data).
	closed time.Duration
	// channel is how long it may take to receive the reason why one channel ends.
	channel time.Duration
	// worker is how long the forwards' process may take to clean up and end by itself.
	worker time.Duration
}

// withinASecond keeps an end within the second, whatever the client and the processes do.
func withinASecond() endTimes {
	const ms = time.Millisecond
	return endTimes{told: 600 * ms, closed: 200 * ms, channel: 300 * ms, worker: 300 * ms}
}

// end ends the session, and reports whether this call did. Everybody sees the reason, every process is killed, the
// connection closes; a shutdown spares what ignores a hang-up. Nothing of it waits for the client: it may have
// stopped reading, and every write to it hangs until the connection is closed. last is what to write to it still.
func (c *conn) end(code reason.Code, last ...func()) bool {
	c.mu.Lock()
	if c.ended != "" || c.closed {
		c.mu.Unlock()
		return false
	}
	c.ended = code
	scope, cut, worker := c.scope, c.life, c.worker
	sessions := c.openSessions()
	c.mu.Unlock()
	c.s.cfg.Log.Info("ended a session", "session", c.id, "peer", c.source.Name, "reason", code)
	for _, s := range sessions {
		s.Ending() // before a process dies of it
		last = append(last, func() { s.End(code.Line()) })
	}
	killed := make(chan struct{})
	c.s.run(func() {
		defer close(killed)
		if scope == nil {
			return
		}
		if code != reason.Shutdown {
			scope.Kill()
		}
		scope.Close()
		worker.Close()
	})
	if cut != nil {
		cut() // forwards
	}
	c.s.run(func() {
		until := time.Now().Add(c.s.cfg.ends.told)
		_ = c.nc.SetWriteDeadline(until)
		told := make(chan struct{})
		var telling sync.WaitGroup
		for _, f := range last {
			telling.Add(1)
			c.s.run(func() { defer telling.Done(); f() })
		}
		c.s.run(func() { telling.Wait(); close(told) })
		waitFor(told, time.Until(until))
		waitFor(killed, time.Until(until))
		_ = c.nc.CloseWrite()
		waitFor(c.gone, c.s.cfg.ends.closed)
		c.nc.Close()
	})
	return true
}

// waitFor waits until done closes, at most that long.
func waitFor(done <-chan struct{}, most time.Duration) {
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
}

// channel opens a channel of the client, after the session was decided once more.
func (c *conn) channel(life context.Context, g *grant, nch ssh.NewChannel) {
	if code := c.review(); code != reason.OK {
		refuse := func() { _ = nch.Reject(ssh.Prohibited, code.Line()) }
		if !c.end(code, refuse) {
			refuse()
		}
		return
	}
	if !c.take() {
		_ = nch.Reject(ssh.ResourceShortage, reason.TooMany.Line())
		return
	}
	c.s.run(func() {
		defer c.give()
		switch nch.ChannelType() {
		case "session":
			c.session(life, g, nch)
		case "direct-tcpip":
			c.forward(life, g, nch)
		case "direct-streamlocal@openssh.com":
			c.forwardSocket(life, g, nch)
		default:
			_ = nch.Reject(ssh.UnknownChannelType, "not served here")
		}
	})
}

func (c *conn) session(life context.Context, g *grant, nch ssh.NewChannel) {
	ch, reqs, err := nch.Accept()
	if err != nil {
		return
	}
	s := session.New(c.sessionLogin(life, g), ch)
	c.mu.Lock()
	ended := c.ended
	if c.sessions == nil {
		c.sessions = make(map[*session.Session]bool)
	}
	c.sessions[s] = true
	c.mu.Unlock()
	if ended != "" {
		_ = ch.Close()
	}
	s.Serve(reqs)
	c.mu.Lock()
	delete(c.sessions, s)
	c.mu.Unlock()
}

func (c *conn) can(g *grant) func(api.Capability) bool {
	return func(k api.Capability) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.ended == "" && g.decided.Has(k)
	}
}

func (c *conn) moved() { c.last.Store(c.s.cfg.Now().UnixNano()) }

func (c *conn) sessionLogin(life context.Context, g *grant) *session.Login {
	c.mu.Lock()
	scope := c.scope
	c.mu.Unlock()
	id := api.NewID("c")
	return &session.Login{
		Account: g.account, Env: c.environment(g), Helper: c.s.cfg.Helper, Starter: c.s.cfg.Starter, Scope: scope.Channel(id),
		System: c.s.system, From: c.remote.Addr(),
		Can: c.can(g), Moved: c.moved, Life: c.s.life, Go: c.s.run, Tell: c.s.cfg.ends.channel,
		Agent: func() (string, error) { return c.agent(life, g) },
		X11:   func(single bool) (int, func(), error) { return c.x11(life, g, single) },
		Files: c.sftpGrants(g), FileEvent: func(e sftp.Event) { c.fileEvent(g, id, e) },
		FilesEnd: func() { c.recordCounts(id) },
		Log:      c.s.cfg.Log.With("session", c.id, "user", g.user, "peer", c.source.Name),
		Refused: func(what, command string, k api.Capability) {
			e := c.event(audit.Refused, g)
			e.What, e.Command, e.Reason, e.Detail = what, command, reason.Capability, string(k)
			_ = c.s.record(e)
		},
		Begin: func(what, command string) (func(session.Result), error) {
			begin := c.event(audit.ChannelStart, g)
			begin.Channel, begin.What, begin.Command = id, what, command
			if err := c.s.record(begin); err != nil {
				return nil, err
			}
			return func(r session.Result) {
				e := c.event(audit.ChannelEnd, g)
				e.Channel, e.What, e.BytesIn, e.BytesOut = begin.Channel, what, r.In, r.Out
				e.DurationMS = e.Time.Sub(begin.Time).Milliseconds()
				if r.Exit != nil {
					e.ExitStatus = &r.Exit.Status
					e.Detail = r.Exit.Signal
				}
				c.mu.Lock()
				e.Reason = firstOf(c.ended, r.Reason)
				c.mu.Unlock()
				_ = c.s.record(e)
			}, nil
		},
	}
}

// environment is what sshd(8) tells of a connection. Programs see the port that the client connected to, not the
// one that the packets were redirected to.
func (c *conn) environment(g *grant) []string {
	local := ""
	if st := c.s.cfg.State(); st != nil && st.Map != nil {
		if a := st.Map.Self.Addr4; c.remote.Addr().Is4() && a.IsValid() {
			local = a.String()
		} else if a := st.Map.Self.Addr6; c.remote.Addr().Is6() && a.IsValid() {
			local = a.String()
		}
	}
	if local == "" {
		local, _, _ = net.SplitHostPort(c.nc.LocalAddr().String())
	}
	return []string{
		fmt.Sprintf("SSH_CLIENT=%s %d %d", c.remote.Addr(), c.remote.Port(), sshPort),
		fmt.Sprintf("SSH_CONNECTION=%s %d %s %d", c.remote.Addr(), c.remote.Port(), local, sshPort),
		"LANYARD_USER=" + oneLine(g.user),
	}
}

const sshPort = 22

// oneLine drops what could end an environment variable or a line, or steer a terminal: the identity provider chose the name.
func oneLine(s string) string { return strings.ReplaceAll(printable(s), "\n", "") }

func (c *conn) info() (SessionInfo, bool) {
	c.mu.Lock()
	if !c.begun || c.closed || c.ended != "" {
		c.mu.Unlock()
		return SessionInfo{}, false
	}
	g := c.grant
	i := SessionInfo{
		ID: c.id, Source: c.source, SourceAddr: c.remote, Ref: g.subject.Ref, User: g.user, LocalUser: g.account.Name,
		Rule: g.decided.Rule, RuleName: g.decided.RuleName, Since: c.started, LastActive: time.Unix(0, c.last.Load()),
	}
	for f := range c.forwards {
		i.Channels = append(i.Channels, string(f.what))
	}
	sessions := c.openSessions()
	c.mu.Unlock()
	for _, s := range sessions { // they call back under their own lock
		if w := s.What(); w != "" {
			i.Channels = append(i.Channels, w)
		}
	}
	return i, true
}
