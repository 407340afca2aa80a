package netstack

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	backlog   = 128
	keepAlive = 15 * time.Second // as package net does: a peer that vanished is noticed
)

// listener is gonet's with keepalives: gonet hides the endpoint on which they are switched on.
type listener struct {
	ep    tcpip.Endpoint
	wq    *waiter.Queue
	addr  *net.TCPAddr
	done  chan struct{}
	close sync.Once
}

// Listen listens for TCP connections on one of the stack's addresses.
func (s *Stack) Listen(on netip.AddrPort) (net.Listener, error) {
	fa, number := full(on)
	l := &listener{wq: new(waiter.Queue), addr: net.TCPAddrFromAddrPort(on), done: make(chan struct{})}
	var terr tcpip.Error
	if l.ep, terr = s.stack.NewEndpoint(tcp.ProtocolNumber, number, l.wq); terr != nil {
		return nil, fmt.Errorf("listen on %s: %v", on, terr)
	}
	l.ep.SocketOptions().SetReuseAddress(true)
	if terr = l.ep.Bind(fa); terr == nil {
		terr = l.ep.Listen(backlog)
	}
	if terr != nil {
		l.ep.Close()
		return nil, fmt.Errorf("listen on %s: %v", on, terr)
	}
	return l, nil
}

func (l *listener) Accept() (net.Conn, error) {
	entry, ready := waiter.NewChannelEntry(waiter.ReadableEvents)
	l.wq.EventRegister(&entry)
	defer l.wq.EventUnregister(&entry)
	for {
		ep, wq, err := l.ep.Accept(nil)
		if err == nil {
			idle, interval := tcpip.KeepaliveIdleOption(keepAlive), tcpip.KeepaliveIntervalOption(keepAlive)
			ep.SetSockOpt(&idle)
			ep.SetSockOpt(&interval)
			ep.SocketOptions().SetKeepAlive(true)
			ep.SocketOptions().SetDelayOption(false) // no Nagle, as package net does
			return gonet.NewTCPConn(wq, ep), nil
		}
		if _, wait := err.(*tcpip.ErrWouldBlock); !wait {
			return nil, net.ErrClosed
		}
		select {
		case <-ready:
		case <-l.done:
			return nil, net.ErrClosed
		}
	}
}

func (l *listener) Close() error {
	l.close.Do(func() {
		close(l.done)
		l.ep.Close()
	})
	return nil
}

func (l *listener) Addr() net.Addr { return l.addr }
