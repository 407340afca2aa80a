//go:build !linux && !windows

package forward

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"lanyard/platform/accounts"
	"lanyard/platform/spawn"
)

// dial connects for the daemon's own account. Acting for another takes a process of that account, which only
// Linux does without.
func dial(ctx context.Context, a accounts.Account, to netip.AddrPort) (net.Conn, error) {
	if !ownAccount(a) {
		return nil, errors.New("forwarding for another account is not supported on this system yet")
	}
	d := net.Dialer{Timeout: dialTime, KeepAlive: -1}
	return d.DialContext(ctx, "tcp", to.String())
}

func ownAccount(a accounts.Account) bool { return spawn.CanServe(a) && !switches(a) }
