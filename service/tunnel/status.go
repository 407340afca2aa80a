package tunnel

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"lanyard/platform/ifaddr"
	"lanyard/service/redirect"
)

// Status says what the tunnel does.
func (t *Tunnel) Status() Status {
	s := Status{Mode: "kernel", Interface: t.name, Flows: t.filter.Flows()}
	if t.user != nil {
		s.Mode = "userspace"
	}
	t.mu.Lock()
	ids := make(map[string]string, len(t.peers)) // by key
	for id, p := range t.peers {
		ids[hexKey(p.PublicKey)] = id
	}
	if t.listener != nil {
		s.Listener, s.ListenerWhy = "kernel", t.why
		if t.user != nil || slices.Contains(t.place[:], redirect.Netstack) {
			s.Listener = "netstack"
		}
	}
	t.mu.Unlock()

	uapi, err := t.wg.IpcGet()
	if err != nil {
		return s // closed
	}
	var p *PeerStatus
	for line := range strings.Lines(uapi) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		n, _ := strconv.ParseInt(v, 10, 64)
		switch {
		case k == "listen_port":
			s.ListenPort = uint16(n)
		case k == "public_key":
			s.Peers = append(s.Peers, PeerStatus{ID: ids[v]})
			p = &s.Peers[len(s.Peers)-1]
		case p == nil:
		case k == "endpoint":
			p.Endpoint, _ = netip.ParseAddrPort(v) // a peer without one has "peer:..."
			p.Direct = p.Endpoint.IsValid()
		case k == "last_handshake_time_sec" && n > 0:
			p.LastHandshake = time.Unix(n, 0)
		case k == "last_handshake_time_nsec" && n > 0:
			p.LastHandshake = p.LastHandshake.Add(time.Duration(n))
		case k == "rx_bytes":
			p.RxBytes = uint64(n)
		case k == "tx_bytes":
			p.TxBytes = uint64(n)
		}
	}
	s.Peers = slices.DeleteFunc(s.Peers, func(p PeerStatus) bool { return p.ID == "" })
	slices.SortFunc(s.Peers, func(a, b PeerStatus) int { return strings.Compare(a.ID, b.ID) })
	return s
}

// Endpoints are the addresses and ports at which others may reach this machine's tunnel: those of its interfaces that are
// up, without link-local and overlay ones, and loopback only when there is nothing else or the configuration asks for it.
func (t *Tunnel) Endpoints() []netip.AddrPort {
	port := t.Status().ListenPort
	addrs, err := ifaddr.Addrs()
	if port == 0 || err != nil {
		return nil
	}
	var real, loopback []netip.AddrPort
	for _, a := range addrs {
		ip := a.Prefix.Addr()
		switch {
		case a.Interface == t.name && t.name != "", t.inOverlay(ip), ip.IsLinkLocalUnicast(), ip.IsMulticast(), ip.IsUnspecified():
		case ip.IsLoopback() || a.Loopback:
			if ip == netip.AddrFrom4([4]byte{127, 0, 0, 1}) {
				loopback = append(loopback, netip.AddrPortFrom(ip, port))
			}
		default:
			real = append(real, netip.AddrPortFrom(ip, port))
		}
	}
	if len(real) > maxCandidates-1 {
		real = real[:maxCandidates-1]
	}
	if t.cfg.LoopbackEndpoints || len(real) == 0 {
		real = append(real, loopback...)
	}
	return real
}
