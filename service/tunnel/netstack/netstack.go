// Package netstack is a TCP/IP stack in this process (gVisor's), seen from WireGuard as a tun.Device.
//
// The tunnel uses it twice: as the machine's whole end of the tunnel in userspace mode, and beside a kernel TUN for the
// connections that the host's firewall would not let through.
package netstack

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"

	"golang.zx2c4.com/wireguard/tun"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/stack/gro"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

const (
	nic       = 1
	batchSize = 128 // packets per Read and Write; WireGuard's own ideal
	queueSize = 512 // packets on their way out
)

// Stack is the stack and the device.
type Stack struct {
	stack  *stack.Stack
	link   *link
	mtu    int
	events chan tun.Event
	once   sync.Once

	write sync.Mutex // guards gro
	gro   gro.GRO
}

// New makes a stack with these addresses. mtu is in bytes.
func New(addrs []netip.Addr, mtu int) (*Stack, error) {
	s := &Stack{
		stack: stack.New(stack.Options{
			NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
			HandleLocal:        true,
		}),
		link:   &link{mtu: uint32(mtu), out: make(chan *stack.PacketBuffer, queueSize), done: make(chan struct{})},
		mtu:    mtu,
		events: make(chan tun.Event, 1),
	}
	if err := s.configure(addrs); err != nil {
		s.stack.Close()
		return nil, err
	}
	s.gro.Init(true)
	s.gro.Dispatcher = s.link.disp
	s.events <- tun.EventUp
	return s, nil
}

func (s *Stack) configure(addrs []netip.Addr) error {
	sack := tcpip.TCPSACKEnabled(true)
	s.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &sack)
	// RACK of this gVisor version stalls on reordering, which several WireGuard workers cause.
	recovery := tcpip.TCPRecovery(0)
	s.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &recovery)
	rx := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4096, Default: 1 << 20, Max: 8 << 20}
	s.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &rx)
	tx := tcpip.TCPSendBufferSizeRangeOption{Min: 4096, Default: 1 << 20, Max: 6 << 20}
	s.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &tx)
	if err := s.stack.CreateNIC(nic, s.link); err != nil {
		return fmt.Errorf("make a network stack: %v", err)
	}
	for _, a := range addrs {
		number, subnet := ipv4.ProtocolNumber, header.IPv4EmptySubnet
		if a.Is6() {
			number, subnet = ipv6.ProtocolNumber, header.IPv6EmptySubnet
		}
		pa := tcpip.ProtocolAddress{Protocol: number, AddressWithPrefix: tcpip.AddrFromSlice(a.AsSlice()).WithPrefix()}
		if err := s.stack.AddProtocolAddress(nic, pa, stack.AddressProperties{}); err != nil {
			return fmt.Errorf("make a network stack with address %s: %v", a, err)
		}
		s.stack.AddRoute(tcpip.Route{Destination: subnet, NIC: nic})
	}
	return nil
}

// Dial opens a TCP connection through the tunnel.
func (s *Stack) Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	fa, number := full(to)
	return gonet.DialContextTCP(ctx, s.stack, fa, number)
}

// DialUDP opens a UDP socket connected to an address in the tunnel.
func (s *Stack) DialUDP(to netip.AddrPort) (net.Conn, error) {
	fa, number := full(to)
	return gonet.DialUDP(s.stack, nil, &fa, number)
}

func full(a netip.AddrPort) (tcpip.FullAddress, tcpip.NetworkProtocolNumber) {
	number := ipv4.ProtocolNumber
	if a.Addr().Is6() {
		number = ipv6.ProtocolNumber
	}
	return tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFromSlice(a.Addr().AsSlice()), Port: a.Port()}, number
}

// File is nil: there is no descriptor.
func (s *Stack) File() *os.File           { return nil }
func (s *Stack) Name() (string, error)    { return "netstack", nil }
func (s *Stack) MTU() (int, error)        { return s.mtu, nil }
func (s *Stack) Events() <-chan tun.Event { return s.events }
func (s *Stack) BatchSize() int           { return batchSize }

// SetNotify names a function that is called when there are packets to TryRead.
func (s *Stack) SetNotify(f func()) { s.link.notify.Store(&f) }

// Read waits for packets of the stack.
func (s *Stack) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	select {
	case p := <-s.link.out:
		sizes[0] = copyOut(p, bufs[0][offset:])
		return 1 + s.TryRead(bufs[1:], sizes[1:], offset), nil
	case <-s.link.done:
		return 0, os.ErrClosed
	}
}

// TryRead gives the packets that are there.
func (s *Stack) TryRead(bufs [][]byte, sizes []int, offset int) int {
	for i := range bufs {
		select {
		case p := <-s.link.out:
			sizes[i] = copyOut(p, bufs[i][offset:])
		default:
			return i
		}
	}
	return len(bufs)
}

func copyOut(p *stack.PacketBuffer, to []byte) int {
	n := 0
	for _, v := range p.AsSlices() {
		n += copy(to[n:], v)
	}
	p.DecRef()
	return n
}

// Write gives packets to the stack.
func (s *Stack) Write(bufs [][]byte, offset int) (int, error) {
	s.write.Lock()
	defer s.write.Unlock()
	select {
	case <-s.link.done:
		return 0, os.ErrClosed
	default:
	}
	for _, b := range bufs {
		if b = b[offset:]; len(b) == 0 {
			continue
		}
		p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
		p.NetworkProtocolNumber = header.IPv4ProtocolNumber
		if b[0]>>4 == 6 {
			p.NetworkProtocolNumber = header.IPv6ProtocolNumber
		}
		p.RXChecksumValidated = true // WireGuard authenticated the packet
		s.gro.Enqueue(p)
		p.DecRef()
	}
	s.gro.Flush()
	return len(bufs), nil
}

// Close ends the stack and every connection in it, and waits for its goroutines.
func (s *Stack) Close() error {
	s.once.Do(func() {
		close(s.link.done)
		s.write.Lock()
		defer s.write.Unlock()
		s.stack.RemoveNIC(nic)
		s.stack.Destroy()
		close(s.events)
	})
	return nil
}
