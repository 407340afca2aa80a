package ifaddr

import (
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/windows"
	"golang.zx2c4.com/wireguard/windows/tunnel/winipcfg"
)

// TUNName is the name to make a TUN interface with: want, or the same with a number when it is taken.
func TUNName(want string) string {
	name := want
	for n := 1; exists(name) && n < 1000; n++ {
		name = fmt.Sprintf("%s %d", want, n)
	}
	return name
}

// Configure gives an interface its addresses and routes the prefixes into it. It reports the addresses that the system
// would not take (IPv6 switched off) in skipped. It may be called again for an interface that is configured already.
func Configure(name string, mtu int, addrs []netip.Addr, routes []netip.Prefix) (skipped []netip.Addr, err error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("find interface %s: %w", name, err)
	}
	luid, err := winipcfg.LUIDFromIndex(uint32(i.Index))
	if err != nil {
		return nil, fmt.Errorf("find interface %s: %w", name, err)
	}
	for _, family := range []winipcfg.AddressFamily{windows.AF_INET, windows.AF_INET6} {
		var own []netip.Prefix
		for _, a := range addrs {
			if a.Is4() == (family == windows.AF_INET) {
				own = append(own, netip.PrefixFrom(a, a.BitLen()))
			}
		}
		if len(own) == 0 {
			continue
		}
		if err := luid.SetIPAddressesForFamily(family, own); err != nil {
			if family == windows.AF_INET6 {
				skipped = append(skipped, own[0].Addr())
				continue
			}
			return skipped, fmt.Errorf("give interface %s the address %s: %w", name, own[0].Addr(), err)
		}
		nextHop := netip.IPv4Unspecified()
		if family == windows.AF_INET6 {
			nextHop = netip.IPv6Unspecified()
		}
		var to []*winipcfg.RouteData
		for _, r := range routes {
			if r.Addr().Is4() == (family == windows.AF_INET) {
				to = append(to, &winipcfg.RouteData{Destination: r.Masked(), NextHop: nextHop})
			}
		}
		if err := luid.SetRoutesForFamily(family, to); err != nil {
			return skipped, fmt.Errorf("route the overlay into interface %s: %w", name, err)
		}
		row, err := luid.IPInterface(family)
		if err != nil {
			return skipped, fmt.Errorf("read the settings of interface %s: %w", name, err)
		}
		row.NLMTU = uint32(mtu)
		row.UseAutomaticMetric = false
		row.Metric = 0
		row.DadTransmits = 0
		row.RouterDiscoveryBehavior = winipcfg.RouterDiscoveryDisabled
		if err := row.Set(); err != nil {
			return skipped, fmt.Errorf("set the MTU of interface %s: %w", name, err)
		}
	}
	return skipped, nil
}

// Routes lists the routes, default routes left out.
func Routes() ([]Route, error) {
	rows, err := winipcfg.GetIPForwardTable2(windows.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var routes []Route
	for _, row := range rows {
		dst := row.DestinationPrefix.Prefix()
		if !dst.IsValid() || dst.Bits() == 0 || dst.Addr().IsLoopback() || dst.Addr().IsMulticast() {
			continue
		}
		name := ""
		if i, err := net.InterfaceByIndex(int(row.InterfaceIndex)); err == nil {
			name = i.Name
		}
		routes = append(routes, Route{dst, name})
	}
	return routes, nil
}
