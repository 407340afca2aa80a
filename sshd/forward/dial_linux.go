package forward

import (
	"context"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// dial connects as the account. On Linux a socket carries the uid that everything which tells users apart looks
// at: netfilter's owner match, "ip rule … uidrange", /proc/net/tcp and ss. fchown(2) on the socket sets it (sockfs,
// since 4.10), so no process has to be started for each connection, and connecting over TCP uses no other right
// of root.
func dial(ctx context.Context, l *Login, to netip.AddrPort) (net.Conn, error) {
	a := l.Account
	d := net.Dialer{Timeout: dialTime, KeepAlive: -1}
	if os.Geteuid() == 0 && a.Uid != 0 {
		d.Control = func(_, _ string, rc syscall.RawConn) error {
			var err error
			if cerr := rc.Control(func(fd uintptr) { err = unix.Fchown(int(fd), int(a.Uid), int(a.Gid)) }); cerr != nil {
				return cerr
			}
			return os.NewSyscallError("fchown", err)
		}
	}
	d.SetMultipathTCP(false) // such a socket has inner ones, which fchown does not reach
	return d.DialContext(ctx, "tcp", to.String())
}
