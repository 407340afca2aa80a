package redirect

import (
	"encoding/binary"
	"net/netip"
)

// Ports of the redirect: peers connect to PortSSH, our listener has PortListen.
const (
	PortSSH    = 22
	PortListen = 22022
)

// IP protocol numbers (IANA).
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)

// TCP flags (RFC 9293 section 3.1).
const (
	flagFIN = 0x01
	flagSYN = 0x02
	flagRST = 0x04
	flagACK = 0x10
)

// addr is an IP address as two words; IPv4 is mapped as in RFC 4291 section 2.5.5.2.
type addr struct{ hi, lo uint64 }

const mapped4 = 0xffff << 32

func toAddr(a netip.Addr) addr {
	b := a.As16()
	return addr{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (a addr) is4() bool { return a.hi == 0 && a.lo>>32 == 0xffff }

// header is what the filter needs to know of a packet.
type header struct {
	src, dst     addr
	l4, end      int // where the transport header begins and the datagram ends
	sport, dport uint16
	id           uint16 // ICMP echo's identifier
	proto        uint8
	flags        uint8 // TCP
	icmp         uint8 // ICMP type
	fragment     bool  // the ports are unknown
}

// parse reads the headers of one IP packet. It reports false for anything that is not a whole, plain IPv4 or IPv6
// packet with the transport header that its protocol needs.
func (h *header) parse(p []byte) bool {
	if len(p) < 20 {
		return false
	}
	switch p[0] >> 4 {
	case 4: // RFC 791 section 3.1
		h.l4 = int(p[0]&15) * 4
		h.end = int(binary.BigEndian.Uint16(p[2:]))
		if h.l4 < 20 || h.end < h.l4 || h.end > len(p) {
			return false
		}
		h.src = addr{0, mapped4 | uint64(binary.BigEndian.Uint32(p[12:]))}
		h.dst = addr{0, mapped4 | uint64(binary.BigEndian.Uint32(p[16:]))}
		h.proto = p[9]
		// More fragments, or not the first one. A first fragment has ports, but what follows it has not.
		h.fragment = binary.BigEndian.Uint16(p[6:])&0x3fff != 0
	case 6: // RFC 8200 section 3
		if len(p) < 40 {
			return false
		}
		h.l4 = 40
		h.end = 40 + int(binary.BigEndian.Uint16(p[4:]))
		if h.end > len(p) {
			return false
		}
		h.src = addr{binary.BigEndian.Uint64(p[8:]), binary.BigEndian.Uint64(p[16:])}
		h.dst = addr{binary.BigEndian.Uint64(p[24:]), binary.BigEndian.Uint64(p[32:])}
		h.proto = p[6]
		h.fragment = h.proto == 44
		// Mapped addresses belong to no wire (RFC 4942 section 2.2): with them, IPv6 could pose as IPv4.
		if h.src.is4() || h.dst.is4() {
			return false
		}
	default:
		return false
	}
	if h.fragment {
		return true
	}
	return h.transport(p[h.l4:h.end], p[0]>>4 == 6)
}

func (h *header) transport(t []byte, v6 bool) bool {
	switch h.proto {
	case protoTCP:
		if len(t) < 20 {
			return false
		}
		if size := int(t[12]>>4) * 4; size < 20 || size > len(t) {
			return false
		}
		h.sport, h.dport = binary.BigEndian.Uint16(t), binary.BigEndian.Uint16(t[2:])
		h.flags = t[13]
	case protoUDP:
		if len(t) < 8 {
			return false
		}
		h.sport, h.dport = binary.BigEndian.Uint16(t), binary.BigEndian.Uint16(t[2:])
	case protoICMP, protoICMPv6:
		if len(t) < 8 || v6 != (h.proto == protoICMPv6) {
			return false
		}
		h.icmp = t[0]
		h.id = binary.BigEndian.Uint16(t[4:])
	default:
		return false
	}
	return true
}

// inner reads the packet that an ICMP error quotes (RFC 792, RFC 4443 section 3): at least the IP header and the
// first eight bytes after it.
func (h *header) inner(p []byte) (src, dst addr, proto uint8, sport, dport uint16, ok bool) {
	q := p[h.l4+8 : h.end]
	var l4 int
	switch {
	case h.proto == protoICMP && len(q) >= 20 && q[0]>>4 == 4:
		l4 = int(q[0]&15) * 4
		if l4 < 20 || binary.BigEndian.Uint16(q[6:])&0x1fff != 0 {
			return
		}
		src = addr{0, mapped4 | uint64(binary.BigEndian.Uint32(q[12:]))}
		dst = addr{0, mapped4 | uint64(binary.BigEndian.Uint32(q[16:]))}
		proto = q[9]
	case h.proto == protoICMPv6 && len(q) >= 40 && q[0]>>4 == 6:
		l4 = 40
		src = addr{binary.BigEndian.Uint64(q[8:]), binary.BigEndian.Uint64(q[16:])}
		dst = addr{binary.BigEndian.Uint64(q[24:]), binary.BigEndian.Uint64(q[32:])}
		proto = q[6]
	default:
		return
	}
	if len(q) < l4+8 {
		return
	}
	switch proto {
	case protoTCP, protoUDP:
		sport, dport = binary.BigEndian.Uint16(q[l4:]), binary.BigEndian.Uint16(q[l4+2:])
	case protoICMP, protoICMPv6:
		sport = binary.BigEndian.Uint16(q[l4+4:])
	default:
		return
	}
	return src, dst, proto, sport, dport, true
}

// setPort writes a TCP port at offset at and keeps the checksum right, from the old and new value alone
// (RFC 1624 section 3, equation 3): HC' = ~(~HC + ~m + m').
func setPort(p []byte, l4, at int, port uint16) {
	old := binary.BigEndian.Uint16(p[at:])
	binary.BigEndian.PutUint16(p[at:], port)
	sum := p[l4+16 : l4+18]
	c := uint32(^binary.BigEndian.Uint16(sum)) + uint32(^old) + uint32(port)
	c = c>>16 + c&0xffff
	c += c >> 16
	binary.BigEndian.PutUint16(sum, ^uint16(c))
}
