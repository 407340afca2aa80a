package netstack

import (
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// link is the stack's only network card: packets out go into a queue.
type link struct {
	mtu    uint32
	disp   stack.NetworkDispatcher // set once, by CreateNIC
	out    chan *stack.PacketBuffer
	done   chan struct{}
	notify atomic.Pointer[func()]
}

func (l *link) MTU() uint32                      { return l.mtu }
func (l *link) SetMTU(mtu uint32)                { l.mtu = mtu }
func (l *link) MaxHeaderLength() uint16          { return 0 }
func (l *link) LinkAddress() tcpip.LinkAddress   { return "" }
func (l *link) SetLinkAddress(tcpip.LinkAddress) {}
func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload // WireGuard authenticates every packet
}

func (l *link) Attach(d stack.NetworkDispatcher) {
	if d != nil {
		l.disp = d
	}
}
func (l *link) IsAttached() bool                        { return l.disp != nil }
func (l *link) Wait()                                   {}
func (l *link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }
func (l *link) AddHeader(*stack.PacketBuffer)           {}
func (l *link) ParseHeader(*stack.PacketBuffer) bool    { return true }
func (l *link) Close()                                  {}
func (l *link) SetOnCloseAction(func())                 {}

// The stack makes long segments and cuts them itself, just before they come here.
func (l *link) GSOMaxSize() uint32               { return 65535 }
func (l *link) SupportedGSO() stack.SupportedGSO { return stack.GVisorGSOSupported }

// WritePackets queues packets; it waits while the queue is full, which is the stack's back pressure.
func (l *link) WritePackets(ps stack.PacketBufferList) (int, tcpip.Error) {
	notify := l.notify.Load()
	n := 0
	for _, p := range ps.AsSlice() {
		q := p.IncRef()
		select {
		case l.out <- q:
			n++
			continue
		default:
		}
		if notify != nil {
			(*notify)()
		}
		select {
		case l.out <- q:
			n++
		case <-l.done:
			q.DecRef()
			return n, &tcpip.ErrClosedForSend{}
		}
	}
	if notify != nil {
		(*notify)()
	}
	return n, nil
}
