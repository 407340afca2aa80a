package policy

import (
	"net/netip"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
)

// Validate checks a policy as an administrator wrote it. Its errors are sentences for them.
func Validate(p api.Policy) error { return nil }

// Resolve replaces names of peers by their ids, as policies are stored.
func Resolve(w *World, p api.Policy) (api.Policy, error) { return p, nil }

// Compile makes the rules that self must enforce as a server peer.
func Compile(w *World, policies []api.Policy, self api.Peer) []api.Rule { return nil }

// Connected reports whether a may open connections to b's port 22: some person or account on a might be let in.
func Connected(w *World, policies []api.Policy, a, b api.Peer) bool { return false }

// Reach lists the machines that user may reach, and as whom. Groups are added to the user's own.
func Reach(w *World, policies []api.Policy, user User, groups []api.GroupRef) []api.Reach { return nil }

// LoginAs is the one account that rules leave to everyone, or "".
func LoginAs(rules []api.Rule) string { return "" }

// Decide decides q.
func Decide(q Query) Decision { return Decision{Code: reason.NoRule} }

// ForwardAllowed reports whether a forward to host, which resolved to ip, is granted.
func (d Decision) ForwardAllowed(host string, ip netip.Addr, port uint16) bool {
	_, ok := d.ForwardAddr(host, ip, port)
	return ok
}

// ForwardAddr is ForwardAllowed and returns the address that was checked: dial that and no other.
func (d Decision) ForwardAddr(host string, ip netip.Addr, port uint16) (netip.AddrPort, bool) {
	return netip.AddrPort{}, false
}
