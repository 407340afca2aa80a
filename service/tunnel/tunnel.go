// Package tunnel is this machine's end of the overlay network.
package tunnel

import (
	"context"
	"errors"
	"net"
	"net/netip"
)

// Tunnel is an open tunnel. Its methods may be called from several goroutines.
type Tunnel struct{}

// Handover is what a process gives to the one that replaces it.
type Handover struct{}

var errNotYet = errors.New("the tunnel is not built yet")

// Open brings the tunnel up. The context ends only the opening.
func Open(ctx context.Context, cfg Config) (*Tunnel, error) { return nil, errNotYet }

// SetPeers makes these the tunnel's peers. Peers that stay as they are notice nothing.
func (t *Tunnel) SetPeers(peers []Peer) error { return errNotYet }

// SetAdmit says whether this machine serves SSH (overlay:22) and for which peers.
func (t *Tunnel) SetAdmit(ssh bool, peerIDs []string) {}

// Listener yields the connections to overlay:22 of admitted peers, and nothing else.
func (t *Tunnel) Listener() net.Listener { return nil }

// Source names the peer behind a connection of Listener by its remote address.
func (t *Tunnel) Source(remote netip.AddrPort) (peerID string, ok bool) { return "", false }

// Dial opens a TCP connection through the tunnel; in userspace mode it is the only way out.
func (t *Tunnel) Dial(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	return nil, errNotYet
}

// Status says what the tunnel does.
func (t *Tunnel) Status() Status { return Status{} }

// Endpoints are the addresses and ports at which others may reach this machine's tunnel.
func (t *Tunnel) Endpoints() []netip.AddrPort { return nil }

// Close ends the tunnel and waits for its goroutines.
func (t *Tunnel) Close() error { return nil }

// CheckOverlay says what on this machine is in the way of the overlay range.
func CheckOverlay(prefix netip.Prefix) error { return nil }
