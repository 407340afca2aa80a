package ifaddr

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TUNName is the name to make a TUN interface with: want, or the same with the next free number.
func TUNName(want string) string {
	name := want
	for n := 0; exists(name) && n < 1000; n++ {
		base := want
		for len(base) > 0 && base[len(base)-1] >= '0' && base[len(base)-1] <= '9' {
			base = base[:len(base)-1]
		}
		name = fmt.Sprintf("%s%d", base, n)
	}
	return name
}

// Configure gives an interface its addresses, brings it up and routes the prefixes into it. It reports the addresses
// that the system would not take (IPv6 switched off) in skipped. It may be called again for an interface that is
// configured already.
func Configure(name string, mtu int, addrs []netip.Addr, routes []netip.Prefix) (skipped []netip.Addr, err error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find interface %s: %w", name, err)
	}
	for _, a := range addrs {
		// Not part of the prefix's length: the kernel would answer for the whole network as if it were on this link.
		na := &netlink.Addr{IPNet: host(a)}
		if a.Is6() {
			na.Flags = unix.IFA_F_NODAD // nobody else is on this link; without it, binding fails for a second
		}
		if err := netlink.AddrReplace(link, na); err != nil {
			if a.Is6() && (errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT)) {
				skipped = append(skipped, a)
				continue
			}
			return skipped, fmt.Errorf("give interface %s the address %s: %w", name, a, err)
		}
	}
	if err := netlink.LinkSetMTU(link, mtu); err != nil {
		return skipped, fmt.Errorf("set the MTU of interface %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return skipped, fmt.Errorf("bring interface %s up: %w", name, err)
	}
	for _, r := range routes {
		if r.Addr().Is6() && len(skipped) > 0 {
			continue
		}
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: network(r), Scope: netlink.SCOPE_LINK}
		for _, a := range addrs { // the source that programs get when they do not choose one
			if a.Is4() == r.Addr().Is4() && r.Addr().Is4() {
				route.Src = a.AsSlice()
			}
		}
		if err := netlink.RouteReplace(route); err != nil {
			return skipped, fmt.Errorf("route %s into interface %s: %w", r, name, err)
		}
	}
	return skipped, nil
}

// Routes lists the unicast routes of all tables, default routes left out.
func Routes() ([]Route, error) {
	var all []netlink.Route
	err := error(netlink.ErrDumpInterrupted)
	for range 20 { // a change in between makes a list worthless
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
		all, err = netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	}
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	names := map[int]string{}
	var routes []Route
	for _, r := range all {
		if r.Dst == nil || r.Type != unix.RTN_UNICAST {
			continue
		}
		ip, ok := netip.AddrFromSlice(r.Dst.IP)
		ones, _ := r.Dst.Mask.Size()
		if !ok || ones == 0 {
			continue
		}
		if _, ok := names[r.LinkIndex]; !ok {
			names[r.LinkIndex] = ""
			if i, err := net.InterfaceByIndex(r.LinkIndex); err == nil {
				names[r.LinkIndex] = i.Name
			}
		}
		if ip.Is4In6() {
			ip = ip.Unmap()
		}
		routes = append(routes, Route{netip.PrefixFrom(ip, ones), names[r.LinkIndex]})
	}
	return routes, nil
}

func host(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}

func network(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
