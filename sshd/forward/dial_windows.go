package forward

import (
	"context"
	"net"
	"net/netip"

	"lanyard/platform/accounts"
	"lanyard/platform/spawn"
)

// dial connects with the rights of the account: Windows Firewall tells users apart by the thread that opens a socket.
// The address is literal, so that net works in this thread alone.
func dial(ctx context.Context, a accounts.Account, to netip.AddrPort) (conn net.Conn, err error) {
	d := net.Dialer{Timeout: dialTime, KeepAlive: -1}
	if aerr := spawn.As(a, func() { conn, err = d.DialContext(ctx, "tcp", to.String()) }); aerr != nil {
		if conn != nil {
			conn.Close()
		}
		return nil, aerr
	}
	return conn, err
}
