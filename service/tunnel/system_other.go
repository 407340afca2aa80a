//go:build !linux

package tunnel

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"golang.zx2c4.com/wireguard/tun"
)

func listenTCP(ctx context.Context, _ string, on netip.AddrPort) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, "tcp", on.String())
}

// establishedOn would list the open TCP connections to local. Only Linux hands a TUN over between processes, so nothing
// can be open here when a tunnel starts.
func establishedOn(netip.AddrPort) []netip.AddrPort { return nil }

var errNoHandover = errors.New("this system cannot hand an interface from one process to another: stop the old one first")

func dupTUN(tun.Device) (int, error) { return 0, errNoHandover }

func resumeTUN(*Handover, int) (tun.Device, error) { return nil, errNoHandover }

// Send gives the handover to another process.
func (h *Handover) Send(*net.UnixConn) error { return errNoHandover }

// ReceiveHandover takes what another process sends.
func ReceiveHandover(*net.UnixConn) (*Handover, error) { return nil, errNoHandover }
