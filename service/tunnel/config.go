package tunnel

import (
	"fmt"
	"log/slog"
	"net/netip"
	"time"
)

// Defaults that Open fills in.
const (
	DefaultName = "lanyard0"
	DefaultMTU  = 1280  // bytes; the smallest that IPv6 allows (RFC 8200 section 5), so it fits every path
	DefaultPort = 51820 // UDP; the next free one is taken when it is in use
)

// Config describes one tunnel. PrivateKey and at least one of Addr4 and Addr6 are required.
type Config struct {
	Name       string   // of the interface; DefaultName or the next free one when empty
	PrivateKey [32]byte // WireGuard's, Curve25519
	ListenPort uint16   // UDP; DefaultPort when 0; the next free port is taken when it is in use

	Addr4, Addr6       netip.Addr   // of this machine in the overlay
	Overlay4, Overlay6 netip.Prefix // routed into the tunnel; never candidates for endpoints

	MTU       int  // bytes inside the tunnel; DefaultMTU when 0
	Userspace bool // no interface: the machine's end of the tunnel is a TCP/IP stack in this process

	// LoopbackEndpoints lets Endpoints name 127.0.0.1 beside the real addresses: two tunnels of one machine.
	LoopbackEndpoints bool

	// Resume continues a tunnel that another process handed over (Handover): the same interface, UDP port,
	// connections and listening sockets. Its files belong to the new tunnel. Nil: a new tunnel.
	Resume *Handover

	Log *slog.Logger     // slog.Default() when nil
	Now func() time.Time // time.Now when nil
}

// Peer is another machine that this one may speak to.
type Peer struct {
	ID        string
	PublicKey [32]byte         // WireGuard's
	Addrs     []netip.Addr     // its overlay addresses: the only sources that it may use
	Endpoints []netip.AddrPort // where it may be reached, none when unknown; the first that answers is used
}

// Status is what the tunnel does at this moment.
type Status struct {
	Mode       string // "kernel": a TUN interface; "userspace": netstack in this process
	Interface  string // empty in userspace mode
	ListenPort uint16 // UDP

	// Listener says where connections to overlay:22 end: "kernel" (a socket of this machine) or "netstack"
	// (in this process). Empty before Listener was called. ListenerWhy is one sentence.
	Listener    string
	ListenerWhy string

	Flows int // connections to overlay:22 in the flow table
	Peers []PeerStatus
}

// PeerStatus is one peer's part of Status.
type PeerStatus struct {
	ID            string
	Endpoint      netip.AddrPort // invalid until the peer answered
	LastHandshake time.Time      // zero: never
	RxBytes       uint64
	TxBytes       uint64
	Direct        bool // packets travel straight to the peer (false: no path found yet)
}

func (c *Config) fill() error {
	if c.PrivateKey == ([32]byte{}) {
		return fmt.Errorf("open tunnel: the configuration has no private key")
	}
	if !c.Addr4.IsValid() && !c.Addr6.IsValid() {
		return fmt.Errorf("open tunnel: the configuration has no overlay address")
	}
	if c.Addr4.IsValid() && !c.Addr4.Is4() {
		return fmt.Errorf("open tunnel: %s is not an IPv4 address", c.Addr4)
	}
	if c.Addr6.IsValid() && (!c.Addr6.Is6() || c.Addr6.Is4In6()) {
		return fmt.Errorf("open tunnel: %s is not an IPv6 address", c.Addr6)
	}
	if c.MTU == 0 {
		c.MTU = DefaultMTU
	}
	if c.ListenPort == 0 {
		c.ListenPort = DefaultPort
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}
