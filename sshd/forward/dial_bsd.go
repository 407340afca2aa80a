//go:build darwin || freebsd

package forward

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

// dial connects over TCP.
func (w *Worker) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	r, err := w.do(ctx, order{Op: opDial, Addr: to}, dialTime)
	if err != nil {
		return nil, err
	}
	c, err := oneConn(r)
	if err != nil {
		return nil, err
	}
	if at, ok := c.RemoteAddr().(*net.TCPAddr); !ok || at.AddrPort().Addr().Unmap() != to.Addr() || at.Port != int(to.Port()) {
		c.Close()
		return nil, fmt.Errorf("asked for %s, but the socket leads elsewhere", to)
	}
	return c, nil
}

// dial connects from a process of the account, which only Linux does without.
func dial(ctx context.Context, l *Login, to netip.AddrPort) (net.Conn, error) {
	return l.Worker.dial(ctx, to)
}
