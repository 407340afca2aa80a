//go:build !linux && !windows

package forward

import (
	"context"
	"net"
	"net/netip"
)

// dial connects from a process of the account, which only Linux does without.
func dial(ctx context.Context, l *Login, to netip.AddrPort) (net.Conn, error) {
	return l.Worker.dial(ctx, to)
}
