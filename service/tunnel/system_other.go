//go:build !linux

package tunnel

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"golang.zx2c4.com/wireguard/tun"

	"lanyard/service/redirect"
)

func listenTCP(ctx context.Context, _ string, on netip.AddrPort) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, "tcp", on.String())
}

// openConnections would list the open TCP connections. Only Linux hands a TUN over between processes, so no session can
// be open here when a tunnel starts; what programs of this machine have open goes on with their next packet.
func openConnections() []redirect.Pair { return nil }

var errNoHandover = errors.New("this system cannot hand an interface from one process to another: stop the old one first")

func dupTUN(tun.Device) (int, error) { return 0, errNoHandover }

func resumeTUN(*Handover, int) (tun.Device, error) { return nil, errNoHandover }

// Send gives the handover to another process.
func (h *Handover) Send(*net.UnixConn) error { return errNoHandover }

// ReceiveHandover takes what another process sends.
func ReceiveHandover(*net.UnixConn) (*Handover, error) { return nil, errNoHandover }
