//go:build darwin || freebsd

package ifaddr

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/net/route"
	"golang.org/x/sys/unix"
)

// Configure gives an interface its addresses, brings it up and routes the prefixes into it. It reports the addresses
// that the system would not take (IPv6 switched off) in skipped. It may be called again for an interface that is
// configured already.
func Configure(name string, mtu int, addrs []netip.Addr, routes []netip.Prefix) (skipped []netip.Addr, err error) {
	for _, a := range addrs {
		args := []string{name, "inet", a.String() + "/32", a.String(), "alias"}
		if a.Is6() {
			args = []string{name, "inet6", a.String(), "prefixlen", "128", "alias"}
		}
		if err := run("/sbin/ifconfig", args...); err != nil {
			if a.Is6() {
				skipped = append(skipped, a)
				continue
			}
			return skipped, fmt.Errorf("give interface %s the address %s: %w", name, a, err)
		}
	}
	if err := run("/sbin/ifconfig", name, "mtu", strconv.Itoa(mtu), "up"); err != nil {
		return skipped, fmt.Errorf("bring interface %s up: %w", name, err)
	}
	for _, r := range routes {
		family := "-inet"
		if r.Addr().Is6() {
			if len(skipped) > 0 {
				continue
			}
			family = "-inet6"
		}
		_ = run("/sbin/route", "-q", "-n", "delete", family, r.Masked().String(), "-interface", name) // absent the first time
		if err := run("/sbin/route", "-q", "-n", "add", family, r.Masked().String(), "-interface", name); err != nil {
			return skipped, fmt.Errorf("route %s into interface %s: %w", r, name, err)
		}
	}
	return skipped, nil
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Routes lists the routes, default routes left out.
func Routes() ([]Route, error) {
	rib, err := route.FetchRIB(unix.AF_UNSPEC, route.RIBTypeRoute, 0)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	msgs, err := route.ParseRIB(route.RIBTypeRoute, rib)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var routes []Route
	for _, m := range msgs {
		rm, ok := m.(*route.RouteMessage)
		if !ok || len(rm.Addrs) <= unix.RTAX_NETMASK {
			continue
		}
		dst, ok := addrOf(rm.Addrs[unix.RTAX_DST])
		if !ok || dst.IsLoopback() || dst.IsMulticast() {
			continue
		}
		bits := dst.BitLen()
		if rm.Flags&unix.RTF_HOST == 0 {
			mask, ok := addrOf(rm.Addrs[unix.RTAX_NETMASK])
			if !ok {
				continue
			}
			bits, _ = net.IPMask(mask.AsSlice()).Size()
		}
		if bits == 0 {
			continue
		}
		name := ""
		if i, err := net.InterfaceByIndex(rm.Index); err == nil {
			name = i.Name
		}
		routes = append(routes, Route{netip.PrefixFrom(dst, bits), name})
	}
	return routes, nil
}

func addrOf(a route.Addr) (netip.Addr, bool) {
	switch a := a.(type) {
	case *route.Inet4Addr:
		return netip.AddrFrom4(a.IP), true
	case *route.Inet6Addr:
		return netip.AddrFrom16(a.IP), true
	}
	return netip.Addr{}, false
}
