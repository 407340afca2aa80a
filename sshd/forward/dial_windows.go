package forward

import (
	"context"
	"net"
	"net/netip"

	"lanyard/platform/spawn"
)

// dial connects with the rights of the account: Windows Firewall tells users apart by the thread that opens a socket.
// The address is literal, so that net works in this thread alone.
func dial(ctx context.Context, l *Login, to netip.AddrPort) (conn net.Conn, err error) {
	d := net.Dialer{Timeout: dialTime, KeepAlive: -1}
	if aerr := spawn.As(l.Account, func() { conn, err = d.DialContext(ctx, "tcp", to.String()) }); aerr != nil {
		if conn != nil {
			conn.Close()
		}
		return nil, aerr
	}
	return conn, err
}
