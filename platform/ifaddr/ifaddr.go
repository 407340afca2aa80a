// Package ifaddr reads and sets what a system calls its network interfaces: names, addresses, routes.
//
// Every file named for a system has the same functions: Configure, Routes, TUNName.
package ifaddr

import (
	"fmt"
	"net"
	"net/netip"
)

// Addr is one address of one interface that is up.
type Addr struct {
	Interface string
	Prefix    netip.Prefix // the address and its network's length
	Loopback  bool
}

// Addrs lists the addresses of all interfaces that are up.
func Addrs() ([]Addr, error) {
	ifs, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list network interfaces: %w", err)
	}
	var all []Addr
	for _, i := range ifs {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it went away meanwhile
		}
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			ip, ok := netip.AddrFromSlice(n.IP)
			if !ok {
				continue
			}
			ones, _ := n.Mask.Size()
			all = append(all, Addr{i.Name, netip.PrefixFrom(ip.Unmap(), ones), i.Flags&net.FlagLoopback != 0})
		}
	}
	return all, nil
}

// Route is an entry of a routing table that leads somewhere.
type Route struct {
	Dst       netip.Prefix
	Interface string // empty when the system did not say
}

// exists says whether an interface has this name.
func exists(name string) bool {
	_, err := net.InterfaceByName(name)
	return err == nil
}
