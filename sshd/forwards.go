package sshd

import (
	"context"
	"net/netip"
	"sync"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/reason"
	"lanyard/sshd/flow"
	"lanyard/sshd/forward"
)

// forward serves a "direct-tcpip" channel.
func (c *conn) forward(life context.Context, g *grant, nch ssh.NewChannel) {
	refused := func(target string, code reason.Code) {
		e := c.event(audit.Refused, g)
		e.What, e.Target, e.Reason = string(api.CapForwardLocal), target, code
		_ = c.s.record(e)
	}
	if !c.can(g)(api.CapForwardLocal) {
		refused("", reason.Capability)
		_ = nch.Reject(ssh.Prohibited, reason.Capability.Line())
		return
	}
	life, cut := context.WithCancel(life)
	defer cut()
	forward.Direct(&forward.Login{
		Account: g.account, Life: life, Go: c.s.run, Moved: c.moved, Refused: refused,
		Allowed: func(host string, ip netip.Addr, port uint16) (netip.AddrPort, bool) {
			c.mu.Lock()
			d := g.decided
			c.mu.Unlock()
			return d.ForwardAddr(host, ip, port)
		},
		Begin: func(target, host string, to netip.AddrPort, m *flow.Meter) func() {
			begin := c.event(audit.ChannelStart, g)
			begin.Channel, begin.What, begin.Target = api.NewID("c"), string(api.CapForwardLocal), target
			_ = c.s.record(begin)
			f := &forwarded{host: host, to: to, cut: cut}
			f.end = sync.OnceFunc(func() {
				e := c.event(audit.ChannelEnd, g)
				e.Channel, e.What, e.Target, e.BytesIn, e.BytesOut = begin.Channel, begin.What, target, m.In.Load(), m.Out.Load()
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
			c.reviewForwards(g) // a change since the dial has not seen this one
			return f.end
		},
	}, nch)
}

// forwarded is a forward that is open.
type forwarded struct {
	host string // as the client named it
	to   netip.AddrPort
	cut  context.CancelFunc
	end  func()      // records its end, once
	lost reason.Code // why it was cut alone; guarded by conn.mu
}

// reviewForwards cuts the forwards whose destination is not granted any more.
func (c *conn) reviewForwards(g *grant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for f := range c.forwards {
		if _, ok := g.decided.ForwardAddr(f.host, f.to.Addr(), f.to.Port()); ok || f.lost != "" {
			continue
		}
		f.lost = reason.Destination
		if !g.decided.Has(api.CapForwardLocal) {
			f.lost = reason.Capability
		}
		c.s.cfg.Log.Info("cut a forward", "session", c.id, "user", g.user, "to", f.to, "reason", f.lost)
		f.cut()
		c.s.run(f.end) // whether the client closes its side or not
	}
}
