package policy

import (
	"net/netip"
	"slices"

	"lanyard/mgmt/api"
)

// loopbackForwards is what a rule grants that names no destinations.
func loopbackForwards() []string { return []string{"127.0.0.0/8:*", "[::1]:*"} }

// metadata are the cloud providers' instance metadata services outside of the link-local ranges: whoever reaches
// them has the machine's own credentials.
func metadata() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("fd00:ec2::254/128"),  // AWS
		netip.MustParsePrefix("fd20:ce::254/128"),   // Google
		netip.MustParsePrefix("100.100.100.200/32"), // Alibaba
		netip.MustParsePrefix("168.63.129.16/32"),   // Azure
		netip.MustParsePrefix("192.0.0.192/32"),     // Oracle
	}
}

// ForwardAllowed reports whether a forward to host, which resolved to ip, is granted. Use ForwardAddr to dial.
func (d Decision) ForwardAllowed(host string, ip netip.Addr, port uint16) bool {
	_, ok := d.ForwardAddr(host, ip, port)
	return ok
}

// ForwardAddr checks a forward to host, which resolved to ip, and returns the address that was checked: dial that
// and never the name again, which may resolve to another one.
//
// Unspecified, link-local, multicast and metadata addresses need a pattern that is exactly the address. Addresses
// of the overlay need one that names them: the address, a prefix within the overlay, or the host's name.
func (d Decision) ForwardAddr(host string, ip netip.Addr, port uint16) (netip.AddrPort, bool) {
	if !d.Has(api.CapForwardLocal) || !ip.IsValid() || port == 0 || ip.Zone() != "" {
		return netip.AddrPort{}, false
	}
	ip = ip.Unmap()
	patterns := d.ForwardTo
	if len(patterns) == 0 {
		patterns = loopbackForwards()
	}
	special, overlay := isSpecial(ip), d.overlayOf(ip)
	for _, p := range patterns {
		f, err := parseForward(p)
		if err != nil || port < f.lo || port > f.hi {
			continue
		}
		ok := false
		switch {
		case f.addr.IsValid():
			ok = f.addr == ip
		case special:
		case f.name != "":
			// The system decides what its names mean, but "localhost" is nowhere else.
			ok = f.name == canonicalHost(host) && (f.name != "localhost" || ip.IsLoopback())
		case f.prefix.IsValid():
			ok = f.prefix.Contains(ip) && (!overlay.IsValid() || f.prefix.Bits() >= overlay.Bits())
		case f.any:
			ok = !overlay.IsValid()
		}
		if ok {
			return netip.AddrPortFrom(ip, port), true
		}
	}
	return netip.AddrPort{}, false
}

// ListenAllowed reports whether a forward back to the client (ssh -R) may listen at ip and port. Port 0, where the
// system chooses one, needs a pattern for all ports.
func (d Decision) ListenAllowed(ip netip.Addr, port uint16) bool {
	if !d.Has(api.CapForwardRemote) || !ip.IsValid() || ip.Zone() != "" {
		return false
	}
	ip = ip.Unmap()
	patterns := d.Listen
	if len(patterns) == 0 {
		patterns = loopbackForwards()
	}
	for _, p := range patterns {
		f, err := parseForward(p)
		if err != nil {
			continue
		}
		if port == 0 && (f.lo != 1 || f.hi != 65535) || port != 0 && (port < f.lo || port > f.hi) {
			continue
		}
		if f.any || f.addr == ip || f.prefix.IsValid() && f.prefix.Contains(ip) {
			return true
		}
	}
	return false
}

func (d Decision) overlayOf(ip netip.Addr) netip.Prefix {
	for _, p := range d.Overlay {
		if p.Contains(ip) {
			return p
		}
	}
	return netip.Prefix{}
}

// isSpecial reports addresses that mean something else than a machine on a network.
func isSpecial(ip netip.Addr) bool {
	if inner, ok := embedded(ip); ok && isSpecial(inner) {
		return true
	}
	return ip.IsUnspecified() || ip.IsLinkLocalUnicast() || ip.IsMulticast() ||
		ip.Is4() && (ip.As4()[0] == 0 || ip.As4() == [4]byte{255, 255, 255, 255}) || // RFC 1122 §3.2.1.3
		slices.ContainsFunc(metadata(), func(p netip.Prefix) bool { return p.Contains(ip) })
}

// embedded is the IPv4 address that a gateway makes of an IPv6 one: NAT64 (RFC 6052), 6to4 (RFC 3056), and the
// deprecated IPv4-compatible form (RFC 4291 §2.5.5.1).
func embedded(ip netip.Addr) (netip.Addr, bool) {
	if !ip.Is6() || ip.IsLoopback() || ip.IsUnspecified() {
		return netip.Addr{}, false
	}
	b := ip.As16()
	switch {
	case netip.MustParsePrefix("64:ff9b::/96").Contains(ip), netip.MustParsePrefix("::/96").Contains(ip):
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case netip.MustParsePrefix("2002::/16").Contains(ip):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return netip.Addr{}, false
}
