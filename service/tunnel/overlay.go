package tunnel

import (
	"fmt"
	"net/netip"
	"strings"

	"lanyard/platform/ifaddr"
)

// CheckOverlay says what on this machine is in the way of the overlay range, in a sentence that offers another range. Nil
// when nothing is. Lanyard's own interfaces are not in the way of the range that they have.
func CheckOverlay(prefix netip.Prefix) error {
	addrs, err := ifaddr.Addrs()
	if err != nil {
		return err
	}
	routes, err := ifaddr.Routes()
	if err != nil {
		return err
	}
	return checkOverlay(prefix, addrs, routes)
}

// cgnat is RFC 6598's shared address space: Tailscale and NetBird number their networks from it.
var cgnat = netip.MustParsePrefix("100.64.0.0/10")

func checkOverlay(prefix netip.Prefix, addrs []ifaddr.Addr, routes []ifaddr.Route) error {
	what := clash(prefix, addrs, routes)
	if what == "" {
		return nil
	}
	for _, other := range otherRanges(prefix) {
		if clash(other, addrs, routes) == "" {
			return fmt.Errorf("the overlay range %s clashes with %s; %s is free here", prefix, what, other)
		}
	}
	return fmt.Errorf("the overlay range %s clashes with %s; choose a range that this machine does not use", prefix, what)
}

func clash(prefix netip.Prefix, addrs []ifaddr.Addr, routes []ifaddr.Route) string {
	prefix = prefix.Masked()
	for _, a := range addrs {
		if strings.HasPrefix(a.Interface, "lanyard") {
			continue
		}
		vpn := otherVPN(a)
		// Tailscale drops whatever else uses the block (its ts-input chain), even where no route of its own overlaps.
		if vpn == "Tailscale" && prefix.Overlaps(cgnat) || vpn != "" && prefix.Overlaps(a.Prefix.Masked()) {
			return fmt.Sprintf("%s (interface %s, address %s)", vpn, a.Interface, a.Prefix.Addr())
		}
	}
	for _, a := range addrs {
		if prefix.Overlaps(a.Prefix.Masked()) && !strings.HasPrefix(a.Interface, "lanyard") {
			return fmt.Sprintf("the address %s of interface %s", a.Prefix, a.Interface)
		}
	}
	for _, r := range routes {
		if prefix.Overlaps(r.Dst.Masked()) && !strings.HasPrefix(r.Interface, "lanyard") {
			return fmt.Sprintf("the route to %s through %s", r.Dst, r.Interface)
		}
	}
	return ""
}

func otherVPN(a ifaddr.Addr) string {
	if !cgnat.Contains(a.Prefix.Addr()) {
		return ""
	}
	name := strings.ToLower(a.Interface)
	switch {
	case strings.HasPrefix(name, "tailscale"), strings.HasPrefix(name, "utun") && a.Prefix.Bits() == 32:
		return "Tailscale"
	case strings.HasPrefix(name, "wt"), strings.HasPrefix(name, "netbird"):
		return "NetBird"
	}
	return ""
}

// otherRanges are ranges to offer, as long as prefix is: first the rest of the shared space, then corners of the private
// ones that routers rarely hand out.
func otherRanges(prefix netip.Prefix) []netip.Prefix {
	if prefix.Addr().Is6() {
		return []netip.Prefix{netip.MustParsePrefix("fd6c:616e:7961::/48"), netip.MustParsePrefix("fd6c:616e:7962::/48")}
	}
	bits := max(prefix.Bits(), 16)
	var all []netip.Prefix
	for _, start := range []string{"100.111.0.0", "100.93.0.0", "100.73.0.0", "10.110.0.0", "10.213.0.0", "172.29.0.0", "10.87.0.0"} {
		all = append(all, netip.PrefixFrom(netip.MustParseAddr(start), bits))
	}
	return all
}
