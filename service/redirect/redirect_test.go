package redirect

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

var (
	own4   = netip.MustParseAddr("100.110.0.1")
	own6   = netip.MustParseAddr("fd00:1::1")
	peer4  = netip.MustParseAddr("100.110.0.2")
	peer6  = netip.MustParseAddr("fd00:1::2")
	other4 = netip.MustParseAddr("100.110.0.3")
)

type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func newFilter(t testing.TB) (*Filter, *clock) {
	t.Helper()
	c := &clock{time.Unix(1_800_000_000, 0)}
	f := NewFilter(own4, own6, c.now, nil)
	f.SetPeers(map[netip.Addr]string{peer4: "p", peer6: "p", other4: "o"})
	f.SetAdmit(true, []string{"p"})
	return f, c
}

func tcp(src, dst netip.Addr, sport, dport uint16, flags uint8) []byte {
	return segment(src, dst, sport, dport, 1, flags)
}

func udp(src, dst netip.Addr, sport, dport uint16) []byte {
	p := tcp(src, dst, sport, dport, 0)
	if dst.Is4() {
		p[9] = protoUDP
	} else {
		p[6] = protoUDP
	}
	return p
}

func icmp(src, dst netip.Addr, kind uint8, rest ...byte) []byte {
	var p []byte
	if dst.Is4() {
		p = append(tcp(src, dst, 0, 0, 0)[:20], kind, 0, 0, 0, 0, 7, 0, 1)
		p[9] = protoICMP
		p = append(p, rest...)
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
		return p
	}
	p = append(tcp(src, dst, 0, 0, 0)[:40], kind, 0, 0, 0, 0, 7, 0, 1)
	p[6] = protoICMPv6
	p = append(p, rest...)
	binary.BigEndian.PutUint16(p[4:], uint16(len(p)-40))
	return p
}

// sound checks the TCP checksum of a whole packet.
func sound(p []byte) bool {
	sum := uint32(protoTCP)
	l4 := 20
	if p[0]>>4 == 6 {
		l4 = 40
		sum += words(p[8:40])
	} else {
		sum += words(p[12:20])
	}
	sum += uint32(len(p) - l4)
	return checksum(sum, p[l4:]) == 0
}

func ports(p []byte) (src, dst uint16) {
	l4 := 20
	if p[0]>>4 == 6 {
		l4 = 40
	}
	return binary.BigEndian.Uint16(p[l4:]), binary.BigEndian.Uint16(p[l4+2:])
}

func TestConnectionToPort22IsRedirectedAndBack(t *testing.T) {
	for _, a := range []struct{ own, peer netip.Addr }{{own4, peer4}, {own6, peer6}} {
		f, _ := newFilter(t)
		syn := tcp(a.peer, a.own, 40000, 22, flagSYN)
		if v := f.Inbound(syn); v != Pass {
			t.Fatalf("SYN: verdict %d", v)
		}
		if _, d := ports(syn); d != PortListen || !sound(syn) {
			t.Errorf("SYN goes to port %d, checksum right: %v", d, sound(syn))
		}
		back := tcp(a.own, a.peer, PortListen, 40000, flagSYN|flagACK)
		if v := f.Outbound(back); v != Pass {
			t.Fatalf("SYN-ACK: verdict %d", v)
		}
		if s, _ := ports(back); s != 22 || !sound(back) {
			t.Errorf("SYN-ACK comes from port %d, checksum right: %v", s, sound(back))
		}
		if id, ok := f.Source(netip.AddrPortFrom(a.peer, 40000)); !ok || id != "p" {
			t.Errorf("source %q, %v", id, ok)
		}
		if _, ok := f.Source(netip.AddrPortFrom(a.peer, 40001)); ok {
			t.Error("a connection that was never opened has a source")
		}
	}
}

func TestInboundIsDroppedUnlessItIsAllowed(t *testing.T) {
	short := tcp(peer4, own4, 1, 22, flagSYN)
	fragment := tcp(peer4, own4, 1, 22, flagSYN)
	fragment[6] = 0x20
	mapped := tcp(netip.MustParseAddr("fd00::1"), own6, 1, 22, flagSYN)
	copy(mapped[8:24], netip.MustParseAddr("::ffff:100.110.0.2").AsSlice())
	for name, c := range map[string]struct {
		p    []byte
		want Verdict
	}{
		"SSH from an admitted peer":            {tcp(peer4, own4, 1, 22, flagSYN), Pass},
		"SSH from another peer":                {tcp(other4, own4, 1, 22, flagSYN), Drop},
		"SSH from nobody":                      {tcp(netip.MustParseAddr("100.110.9.9"), own4, 1, 22, flagSYN), Drop},
		"SSH without a SYN":                    {tcp(peer4, own4, 1, 22, flagACK), Drop},
		"SYN-ACK to port 22":                   {tcp(peer4, own4, 1, 22, flagSYN|flagACK), Drop},
		"the listener's own port":              {tcp(peer4, own4, 1, PortListen, flagSYN), Drop},
		"another service":                      {tcp(peer4, own4, 1, 80, flagSYN), Drop},
		"UDP":                                  {udp(peer4, own4, 1, 53), Drop},
		"own address as source":                {tcp(own4, own4, 1, 22, flagSYN), Drop},
		"another destination":                  {tcp(peer4, other4, 1, 22, flagSYN), Drop},
		"echo request":                         {icmp(peer4, own4, 8), Pass},
		"echo request, IPv6":                   {icmp(peer6, own6, 128), Pass},
		"echo request of nobody":               {icmp(netip.MustParseAddr("100.110.9.9"), own4, 8), Drop},
		"echo reply that nobody asked for":     {icmp(peer4, own4, 0), Drop},
		"ICMP redirect":                        {icmp(peer4, own4, 5), Drop},
		"ICMPv6 neighbour advertisement":       {icmp(peer6, own6, 136), Drop},
		"unreachable about nothing we sent":    {icmp(peer4, own4, 3, tcp(own4, peer4, 5, 6, 0)...), Drop},
		"a fragment":                           {fragment, Drop},
		"a short packet":                       {short[:30], Drop},
		"nothing":                              {nil, Drop},
		"IPv4 dressed up as IPv6":              {mapped, Drop},
		"another protocol":                     {func() []byte { p := tcp(peer4, own4, 1, 22, 0); p[9] = 47; return p }(), Drop},
		"IPv6 hop-by-hop options before a SYN": {func() []byte { p := tcp(peer6, own6, 1, 22, flagSYN); p[6] = 0; return p }(), Drop},
	} {
		f, _ := newFilter(t)
		if got := f.Inbound(c.p); got != c.want {
			t.Errorf("%s: verdict %d, want %d", name, got, c.want)
		}
	}
}

func TestSSHOffDropsPort22(t *testing.T) {
	f, _ := newFilter(t)
	f.SetAdmit(false, []string{"p"})
	if f.Inbound(tcp(peer4, own4, 1, 22, flagSYN)) != Drop {
		t.Error("SSH is off and a SYN passed")
	}
}

func TestOpenConnectionOutlivesAdmissionButNewOnesDoNot(t *testing.T) {
	f, _ := newFilter(t)
	f.Inbound(tcp(peer4, own4, 1, 22, flagSYN))
	f.Outbound(tcp(own4, peer4, PortListen, 1, flagSYN|flagACK))
	f.SetAdmit(true, nil)
	if f.Inbound(tcp(peer4, own4, 1, 22, flagACK)) != Pass {
		t.Error("the open connection was cut before anyone could say why")
	}
	if f.Inbound(tcp(peer4, own4, 2, 22, flagSYN)) != Drop {
		t.Error("a new connection of a peer that is not admitted any more passed")
	}
	f.SetPeers(map[netip.Addr]string{other4: "o"})
	if f.Inbound(tcp(peer4, own4, 1, 22, flagACK)) != Drop {
		t.Error("a peer that is gone still has a flow")
	}
}

func TestAnswersToOwnTrafficPass(t *testing.T) {
	for name, c := range map[string]struct{ out, in, stranger []byte }{
		"TCP":      {tcp(own4, peer4, 5000, 80, flagSYN), tcp(peer4, own4, 80, 5000, flagSYN|flagACK), tcp(peer4, own4, 81, 5000, flagACK)},
		"TCP 6":    {tcp(own6, peer6, 5000, 80, flagSYN), tcp(peer6, own6, 80, 5000, flagSYN|flagACK), tcp(peer6, own6, 80, 5001, flagACK)},
		"ssh":      {tcp(own4, peer4, 5000, 22, flagSYN), tcp(peer4, own4, 22, 5000, flagSYN|flagACK), tcp(other4, own4, 22, 5000, flagACK)},
		"UDP":      {udp(own4, peer4, 5000, 53), udp(peer4, own4, 53, 5000), udp(other4, own4, 53, 5000)},
		"ping":     {icmp(own4, peer4, 8), icmp(peer4, own4, 0), icmp(other4, own4, 0)},
		"ping 6":   {icmp(own6, peer6, 128), icmp(peer6, own6, 129), icmp(own6, own6, 129)},
		"TCP open": {tcp(own4, peer4, 5000, 80, flagACK), tcp(peer4, own4, 80, 5000, flagACK), tcp(peer4, own4, 80, 5001, flagACK)},
		"error":    {udp(own4, peer4, 5000, 53), icmp(peer4, own4, 3, udp(own4, peer4, 5000, 53)...), icmp(other4, own4, 3, udp(own4, peer4, 5000, 53)...)},
		"error 6":  {udp(own6, peer6, 5000, 53), icmp(peer6, own6, 1, udp(own6, peer6, 5000, 53)...), icmp(peer6, own6, 1, udp(own6, peer6, 5001, 53)...)},
	} {
		f, _ := newFilter(t)
		if f.Inbound(append([]byte(nil), c.in...)) == Pass {
			t.Errorf("%s: the answer passed before the question", name)
		}
		if f.Outbound(c.out) != Pass {
			t.Errorf("%s: the question was dropped", name)
		}
		if f.Inbound(c.in) != Pass {
			t.Errorf("%s: the answer was dropped", name)
		}
		if f.Inbound(c.stranger) == Pass {
			t.Errorf("%s: a stranger's packet passed", name)
		}
	}
}

func TestSilentFlowsExpire(t *testing.T) {
	f, c := newFilter(t)
	f.Outbound(udp(own4, peer4, 5000, 53))
	f.Inbound(tcp(peer4, own4, 1, 22, flagSYN))
	if _, ok := f.Source(netip.AddrPortFrom(peer4, 1)); !ok {
		t.Error("a connection has no source")
	}
	c.t = c.t.Add(idleOpening + time.Second)
	if id, ok := f.Source(netip.AddrPortFrom(peer4, 1)); ok {
		t.Errorf("a connection that has run out is still %q's", id)
	}
	f.Expire()
	if f.Flows() != 0 {
		t.Error("a connection that never opened is still in the table")
	}
	c.t = c.t.Add(idleUDP)
	f.Expire()
	if f.Inbound(udp(peer4, own4, 53, 5000)) != Drop {
		t.Error("an answer passed after the flow should have been forgotten")
	}
}

func TestOnePeerCannotFillTheTable(t *testing.T) {
	f, c := newFilter(t)
	f.SetAdmit(true, []string{"p", "o"})
	f.Inbound(tcp(peer4, own4, 1, 22, flagSYN)) // open: must survive
	f.Outbound(tcp(own4, peer4, PortListen, 1, flagSYN|flagACK))
	f.Inbound(tcp(peer4, own4, 1, 22, flagACK))
	for port := range uint16(5000) { // which the kernel answers, and the peer goes on with none
		f.Inbound(tcp(peer4, own4, 1000+port, 22, flagSYN))
		f.Outbound(tcp(own4, peer4, PortListen, 1000+port, flagSYN|flagACK))
	}
	if n := f.Flows(); n != maxSSHPeer {
		t.Errorf("%d flows of one peer, want %d", n, maxSSHPeer)
	}
	if _, ok := f.Source(netip.AddrPortFrom(peer4, 1)); !ok {
		t.Error("an open connection was dropped for half-open ones")
	}
	if f.Inbound(tcp(other4, own4, 1, 22, flagSYN)) != Pass {
		t.Error("another peer finds no room")
	}
	c.t = c.t.Add(idleOpening + time.Second)
	f.Expire()
	if n := f.Flows(); n != 1 {
		t.Errorf("%d flows after the half-open ones ran out, want the open one", n)
	}
}

func TestRepeatedSYNMovesToTheInProcessStack(t *testing.T) {
	told := 0
	c := &clock{time.Unix(1_800_000_000, 0)}
	f := NewFilter(own4, own6, c.now, func() { told++ })
	f.SetPeers(map[netip.Addr]string{peer4: "p"})
	f.SetAdmit(true, []string{"p"})
	f.SetPlace(Kernel, Kernel, true)
	if v := f.Inbound(tcp(peer4, own4, 1, 22, flagSYN)); v != Pass {
		t.Fatalf("first SYN: %d", v)
	}
	if v := f.Inbound(tcp(peer4, own4, 1, 22, flagSYN)); v != PassNetstack || told != 1 {
		t.Errorf("second SYN: verdict %d, told %d times", v, told)
	}
	f.SetPlace(Netstack, Kernel, true)
	if v := f.Inbound(tcp(peer4, own4, 2, 22, flagSYN)); v != PassNetstack {
		t.Errorf("a new flow while the firewall blocks: verdict %d", v)
	}
}

func TestAdoptedConnectionsGoOn(t *testing.T) {
	f, _ := newFilter(t)
	f.SetPeers(nil)
	f.Adopt([]netip.AddrPort{netip.AddrPortFrom(peer4, 1), netip.AddrPortFrom(own4, 2)})
	f.SetPeers(map[netip.Addr]string{peer4: "p"})
	if f.Inbound(tcp(peer4, own4, 1, 22, flagACK)) != Pass {
		t.Error("an adopted connection was dropped")
	}
	if id, ok := f.Source(netip.AddrPortFrom(peer4, 1)); !ok || id != "p" {
		t.Errorf("source %q %v", id, ok)
	}
	if _, ok := f.Source(netip.AddrPortFrom(own4, 2)); ok {
		t.Error("this machine's own address is a source")
	}
}

// A program that was connected before this process began hears the other end although it sends nothing itself.
func TestOwnConnectionsThatWereOpenGoOn(t *testing.T) {
	pair := func(own, peer netip.Addr, local uint16) Pair {
		return Pair{netip.AddrPortFrom(own, local), netip.AddrPortFrom(peer, 22)}
	}
	f, _ := newFilter(t)
	f.AdoptOwn([]Pair{
		pair(own4, peer4, 5000), pair(own6, peer6, 5000), pair(netip.MustParseAddr("::ffff:"+own4.String()), peer4, 5001),
		pair(netip.MustParseAddr("192.0.2.1"), peer4, 6000), pair(own4, own4, 6001), pair(own4, peer4, PortListen), pair(own4, peer4, PortSSH),
	})
	f.SetPeers(map[netip.Addr]string{peer4: "p", peer6: "p"})
	for name, c := range map[string]struct {
		p    []byte
		want Verdict
	}{
		"open":                     {tcp(peer4, own4, 22, 5000, flagACK), Pass},
		"open, IPv6":               {tcp(peer6, own6, 22, 5000, flagACK), Pass},
		"open, mapped":             {tcp(peer4, own4, 22, 5001, flagACK), Pass},
		"another port of ours":     {tcp(peer4, own4, 22, 5002, flagACK), Drop},
		"another port of theirs":   {tcp(peer4, own4, 23, 5000, flagACK), Drop},
		"another machine":          {tcp(other4, own4, 22, 5000, flagACK), Drop},
		"another address of ours":  {tcp(peer4, own4, 22, 6000, flagACK), Drop},
		"the listener's own":       {tcp(peer4, own4, 22, PortListen, flagACK), Drop},
		"the other sshd's":         {tcp(peer4, own4, 22, PortSSH, flagACK), Drop},
		"this machine with itself": {tcp(own4, own4, 22, 6001, flagACK), Drop},
	} {
		if got := f.Inbound(c.p); got != c.want {
			t.Errorf("%s: verdict %d, want %d", name, got, c.want)
		}
	}
	if f.Flows() != 0 {
		t.Errorf("%d connections of others, want none", f.Flows())
	}
}

func FuzzRewrite(f *testing.F) {
	f.Add(tcp(peer4, own4, 1, 22, flagSYN), true)
	f.Add(tcp(own6, peer6, PortListen, 1, flagSYN|flagACK), false)
	f.Add(icmp(peer4, own4, 3, udp(own4, peer4, 5, 6)...), true)
	f.Add(icmp(peer6, own6, 1, udp(own6, peer6, 5, 6)...), true)
	f.Fuzz(func(t *testing.T, p []byte, in bool) {
		fl, _ := newFilter(t)
		fl.Inbound(tcp(peer4, own4, 1, 22, flagSYN))
		fl.Inbound(tcp(peer6, own6, 1, 22, flagSYN))
		was := append([]byte(nil), p...)
		var v Verdict
		if in {
			v = fl.Inbound(p)
		} else {
			v = fl.Outbound(p)
		}
		changed := 0
		for i := range p {
			if p[i] != was[i] {
				changed++
			}
		}
		if changed > 4 || changed > 0 && v != Pass {
			t.Fatalf("verdict %d, %d bytes changed", v, changed)
		}
		if changed > 0 {
			var h header
			if !h.parse(p) {
				t.Fatal("a rewritten packet cannot be read")
			}
			if (checksumOf(p, &h) == 0) != (checksumOf(was, &h) == 0) {
				t.Fatal("rewriting changed whether the checksum is right")
			}
			if in && h.dport != PortListen || !in && h.sport != PortSSH {
				t.Fatalf("rewritten to ports %d, %d", h.sport, h.dport)
			}
		}
	})
}

func checksumOf(p []byte, h *header) uint16 {
	sum := uint32(protoTCP) + uint32(h.end-h.l4)
	if p[0]>>4 == 6 {
		sum += words(p[8:40])
	} else {
		sum += words(p[12:20])
	}
	return checksum(sum, p[h.l4:h.end])
}

func BenchmarkPacket(b *testing.B) {
	f, _ := newFilter(b)
	now := f.now().UnixNano()
	f.Outbound(tcp(own4, peer4, 5000, 80, flagSYN))
	f.Outbound(tcp(own6, peer6, 5000, 80, flagSYN))
	f.Inbound(tcp(peer4, own4, 1, 22, flagSYN))
	for name, p := range map[string][]byte{
		"in/other": tcp(peer4, own4, 80, 5000, flagACK), "in6/other": tcp(peer6, own6, 80, 5000, flagACK), "in/dropped": tcp(peer4, own4, 9, 80, flagSYN),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				f.inbound(p, now)
			}
		})
	}
	b.Run("in/redirected", func(b *testing.B) {
		p := tcp(peer4, own4, 1, 22, flagACK)
		for b.Loop() {
			f.inbound(p, now)
			binary.BigEndian.PutUint16(p[22:], PortSSH)
		}
	})
	b.Run("out/other", func(b *testing.B) {
		p := tcp(own4, peer4, 5000, 80, flagACK)
		for b.Loop() {
			f.outbound(p, now)
		}
	})
	b.Run("out/redirected", func(b *testing.B) {
		p := tcp(own4, peer4, PortListen, 1, flagACK)
		for b.Loop() {
			f.outbound(p, now)
			binary.BigEndian.PutUint16(p[20:], PortListen)
		}
	})
}

func TestEveryChecksumStaysRight(t *testing.T) {
	for n := range uint32(1 << 16) { // every value that the sum can have, both of its carries among them
		p := segment(peer4, own4, 22, 22, n, flagACK)
		setPort(p, 20, 22, PortListen)
		setPort(p, 20, 20, uint16(n)|1)
		if !sound(p) {
			t.Fatalf("sequence number %d: the checksum is wrong", n)
		}
	}
}

func TestOwnAddressIsNoSourceEvenAsAPeers(t *testing.T) {
	f, _ := newFilter(t)
	f.SetPeers(map[netip.Addr]string{own4: "p"})
	if f.Inbound(tcp(own4, own4, 1, 22, flagSYN)) != Drop {
		t.Error("a packet from this machine's own address passed")
	}
}
