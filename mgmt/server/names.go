package server

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
)

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// ownNames lists the names and addresses under which a server that listens on host is reached; the first is the
// one for its URL.
func ownNames(host, external string) ([]string, error) {
	var names []string
	add := func(n string) {
		if n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	if external != "" {
		u, err := url.Parse(external)
		if err != nil || u.Host == "" || u.Scheme != "https" && !isLoopback(u.Hostname()) || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
			return nil, fmt.Errorf("--url %q must look like https://host or https://host:port", external)
		}
		add(u.Hostname())
	}
	ip := net.ParseIP(host)
	switch {
	case host == "" || ip != nil && ip.IsUnspecified():
		addrs, err := net.InterfaceAddrs()
		if err != nil {
			return nil, fmt.Errorf("list this machine's addresses: %w", err)
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
				add(n.IP.String())
			}
		}
		if len(names) == 0 {
			add("127.0.0.1")
		}
	default:
		add(host)
	}
	if isLoopback(host) {
		add("127.0.0.1")
		add("localhost")
	}
	if h := hostname(); !isLoopback(host) {
		add(strings.ToLower(h))
	}
	return names, nil
}

// proofHosts lists the hosts that a proof may have been made for (the authority of its URL).
func proofHosts(names []string, port, external string) ([]string, error) {
	u, err := url.Parse(external)
	if err != nil {
		return nil, err
	}
	hosts := []string{u.Host}
	for _, n := range names {
		hosts = append(hosts, net.JoinHostPort(n, port))
	}
	return hosts, nil
}
