package redirect

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"time"
)

// probe is a connection attempt of our own through the packet path; the Filter's lock guards it.
type probe struct {
	active bool
	addr   addr
	port   uint16
	flags  chan uint8
}

// answer takes a packet from the listener when it answers the probe.
func (p *probe) answer(h *header) bool {
	if !p.active || h.dst != p.addr || h.dport != p.port {
		return false
	}
	select {
	case p.flags <- h.flags:
	default:
	}
	return true
}

// ErrBlocked says that a packet to our listener was not answered, though the listener is there: something on this
// machine, most likely its firewall, dropped or refused it.
var ErrBlocked = errors.New("this machine's firewall does not let connections reach port 22022 on the overlay interface")

// Repeats of the probe's SYN, and how long the last one waits. The kernel answers in microseconds.
const (
	probeTries = 3
	probeWait  = 150 * time.Millisecond
)

// Probe asks whether the kernel's listener on own can be reached: it sends a SYN to overlay:22 from an address that no
// peer has, through the same rewriting and into the same interface as a peer's, and waits for the SYN-ACK to come out.
// Nil: it can. ErrBlocked: it cannot. It is called by one goroutine at a time.
func (d *Device) Probe(ctx context.Context, own, from netip.Addr) error {
	f := d.filter
	port := uint16(49152 + rand.IntN(16384)) // RFC 6335's dynamic range
	answers := make(chan uint8, probeTries)
	f.mu.Lock()
	f.probe = probe{active: true, addr: toAddr(from), port: port, flags: answers}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.probe = probe{}
		f.mu.Unlock()
	}()

	seq := rand.Uint32()
	timer := time.NewTimer(probeWait)
	defer timer.Stop()
	for range probeTries {
		if err := d.inject(segment(from, own, port, PortSSH, seq, flagSYN)); err != nil {
			return err
		}
		timer.Reset(probeWait)
		select {
		case flags := <-answers:
			if flags&flagRST != 0 {
				return ErrBlocked // refused, though the listener is open
			}
			// End the half-open connection, or the kernel would repeat its answer (RFC 9293 section 3.10.7.4).
			return d.inject(segment(from, own, port, PortSSH, seq+1, flagRST))
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ErrBlocked
}

// headroom is what the system's TUN needs in front of a packet; WireGuard leaves 16 bytes.
const headroom = 16

// inject writes a packet of ours into the interface, redirected like a peer's.
func (d *Device) inject(p []byte) error {
	buf := make([]byte, headroom+len(p), headroom+len(p)+64)
	copy(buf[headroom:], p)
	var h header
	if !h.parse(buf[headroom:]) {
		return errors.New("probe: malformed packet")
	}
	setPort(buf[headroom:], h.l4, h.l4+2, PortListen)
	_, err := d.inner.Write([][]byte{buf}, headroom)
	return err
}

// segment builds a TCP segment without data.
func segment(src, dst netip.Addr, sport, dport uint16, seq uint32, flags uint8) []byte {
	var p []byte
	sum := uint32(protoTCP + 20) // the pseudo header's protocol and length (RFC 9293 section 3.1)
	if dst.Is4() {
		p = make([]byte, 40)
		p[0], p[8], p[9] = 0x45, 64, protoTCP
		binary.BigEndian.PutUint16(p[2:], 40)
		copy(p[12:], src.AsSlice())
		copy(p[16:], dst.AsSlice())
		binary.BigEndian.PutUint16(p[10:], checksum(0, p[:20]))
		sum += words(p[12:20])
	} else {
		p = make([]byte, 60)
		p[0], p[6], p[7] = 0x60, protoTCP, 64
		binary.BigEndian.PutUint16(p[4:], 20)
		copy(p[8:], src.AsSlice())
		copy(p[24:], dst.AsSlice())
		sum += words(p[8:40])
	}
	t := p[len(p)-20:]
	binary.BigEndian.PutUint16(t, sport)
	binary.BigEndian.PutUint16(t[2:], dport)
	binary.BigEndian.PutUint32(t[4:], seq)
	t[12], t[13] = 5<<4, flags
	binary.BigEndian.PutUint16(t[14:], 64240)
	binary.BigEndian.PutUint16(t[16:], checksum(sum, t))
	return p
}

func words(b []byte) (sum uint32) {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}

// checksum is the internet checksum (RFC 1071) of b, with sum already added up.
func checksum(sum uint32, b []byte) uint16 {
	sum += words(b)
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
