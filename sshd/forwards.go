package sshd

import (
	"context"
	"net/netip"
	"sync"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/reason"
	"lanyard/mgmt/policy"
	"lanyard/sshd/flow"
	"lanyard/sshd/forward"
)

// forward serves a "direct-tcpip" channel.
func (c *conn) forward(life context.Context, g *grant, nch ssh.NewChannel) {
	if !c.may(g, api.CapForwardLocal) {
		_ = nch.Reject(ssh.Prohibited, reason.Capability.Line())
		return
	}
	life, cut := context.WithCancel(life)
	defer cut()
	l := c.forwardLogin(life, g)
	l.Refused = func(target string, code reason.Code) { c.refuseForward(g, api.CapForwardLocal, target, code) }
	l.Allowed = func(host string, ip netip.Addr, port uint16) (netip.AddrPort, bool) {
		return c.decision(g).ForwardAddr(host, ip, port)
	}
	l.Begin = func(target, host string, to netip.AddrPort, m *flow.Meter) func() {
		return c.opened(g, &forwarded{what: api.CapForwardLocal, cut: cut, granted: func(d policy.Decision) bool {
			return d.ForwardAllowed(host, to.Addr(), to.Port())
		}}, target, "", m)
	}
	forward.Direct(l, nch)
}

// forwardSocket serves a "direct-streamlocal@openssh.com" channel.
func (c *conn) forwardSocket(life context.Context, g *grant, nch ssh.NewChannel) {
	if !c.may(g, api.CapSockets) {
		_ = nch.Reject(ssh.Prohibited, reason.Capability.Line())
		return
	}
	life, cut := context.WithCancel(life)
	defer cut()
	l := c.forwardLogin(life, g)
	l.BeginSocket = func(path string, m *flow.Meter) func() {
		return c.opened(g, &forwarded{what: api.CapSockets, cut: cut}, path, "", m)
	}
	forward.Socket(l, nch)
}

func (c *conn) forwardLogin(life context.Context, g *grant) *forward.Login {
	return &forward.Login{Account: g.account, Worker: c.worker, Life: life, Go: c.s.run, Moved: c.moved}
}

// may asks for a capability and records that it was refused.
func (c *conn) may(g *grant, k api.Capability) bool {
	if c.can(g)(k) {
		return true
	}
	c.refuseForward(g, k, "", reason.Capability)
	return false
}

func (c *conn) refuseForward(g *grant, what api.Capability, target string, code reason.Code) {
	e := c.event(audit.Refused, g)
	e.What, e.Target, e.Reason = string(what), target, code
	_ = c.s.record(e)
}

func (c *conn) decision(g *grant) policy.Decision {
	c.mu.Lock()
	defer c.mu.Unlock()
	return g.decided
}

// forwarded is a forward that is open: a connection, or a listener.
type forwarded struct {
	what    api.Capability
	granted func(policy.Decision) bool // nil: what alone counts
	cut     context.CancelFunc
	end     func()      // records its end, once
	lost    reason.Code // why it was cut alone; guarded by conn.mu
}

// lostBy is why a decision does not grant f any more, or "".
func (f *forwarded) lostBy(d policy.Decision) reason.Code {
	switch {
	case !d.Has(f.what):
		return reason.Capability
	case f.granted != nil && !f.granted(d):
		return reason.Destination
	}
	return ""
}

// opened records that f is open and keeps an eye on it until the function it returns is called. m counts its bytes; nil
// for a listener, which has none of its own.
func (c *conn) opened(g *grant, f *forwarded, target, detail string, m *flow.Meter) (end func()) {
	begin := c.event(audit.ChannelStart, g)
	begin.Channel, begin.What, begin.Target, begin.Detail = api.NewID("c"), string(f.what), target, detail
	if err := c.s.record(begin); err != nil { // what cannot be recorded does not go on
		c.end(codeOf(err))
	}
	f.end = sync.OnceFunc(func() {
		e := c.event(audit.ChannelEnd, g)
		e.Channel, e.What, e.Target, e.Detail = begin.Channel, begin.What, target, detail
		if m != nil {
			e.BytesIn, e.BytesOut = m.In.Load(), m.Out.Load()
		}
		e.DurationMS = e.Time.Sub(begin.Time).Milliseconds()
		c.mu.Lock()
		delete(c.forwards, f)
		e.Reason = firstOf(c.ended, f.lost)
		c.mu.Unlock()
		_ = c.s.record(e)
	})
	c.mu.Lock()
	if c.forwards == nil {
		c.forwards = make(map[*forwarded]bool)
	}
	c.forwards[f] = true
	c.mu.Unlock()
	c.reviewForwards(g) // a change since the decision has not seen this one
	return f.end
}

// reviewForwards cuts the forwards that are not granted any more.
func (c *conn) reviewForwards(g *grant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for f := range c.forwards {
		if f.lost != "" {
			continue
		}
		if f.lost = f.lostBy(g.decided); f.lost == "" {
			continue
		}
		c.s.cfg.Log.Info("cut a forward", "session", c.id, "user", g.user, "what", f.what, "reason", f.lost)
		f.cut()
		c.s.run(f.end) // whether the client closes its side or not
	}
}
