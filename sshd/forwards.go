package sshd

import (
	"context"
	"net/netip"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/reason"
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
	forward.Direct(&forward.Login{
		Account: g.account, Life: life, Go: c.s.run, Moved: c.moved, Refused: refused,
		Allowed: func(host string, ip netip.Addr, port uint16) (netip.AddrPort, bool) {
			c.mu.Lock()
			d := g.decided
			c.mu.Unlock()
			return d.ForwardAddr(host, ip, port)
		},
		Begin: func(target string) func(in, out int64) {
			c.mu.Lock()
			c.forwards++
			c.mu.Unlock()
			begin := c.event(audit.ChannelStart, g)
			begin.Channel, begin.What, begin.Target = api.NewID("c"), string(api.CapForwardLocal), target
			_ = c.s.record(begin)
			return func(in, out int64) {
				e := c.event(audit.ChannelEnd, g)
				e.Channel, e.What, e.Target, e.BytesIn, e.BytesOut = begin.Channel, begin.What, target, in, out
				e.DurationMS = e.Time.Sub(begin.Time).Milliseconds()
				c.mu.Lock()
				c.forwards--
				e.Reason = c.ended
				c.mu.Unlock()
				_ = c.s.record(e)
			}
		},
	}, nch)
}
