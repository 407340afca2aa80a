package redirect

import (
	"net/netip"
	"sync"
	"time"
)

// Verdict says what becomes of a packet.
type Verdict uint8

// The verdicts.
const (
	Drop         Verdict = iota
	Pass                 // on its way, perhaps rewritten
	PassNetstack         // inbound, to the in-process stack instead of the kernel
	Probe                // outbound, the answer to a probe of ours: taken, not sent
)

// Filter decides about packets. Its methods may be called from several goroutines.
type Filter struct {
	own4, own6 addr // zero: this machine has none
	has4, has6 bool
	now        func() time.Time

	// Unanswered is told when a peer repeats its SYN because the kernel did not answer the first. It must not block and
	// is called with the lock held.
	unanswered func()

	mu        sync.Mutex // guards all below
	table     table
	peers     map[addr]string // by overlay address
	admitted  map[string]bool
	ssh       bool
	place     [2]Place // of new flows: IPv4, IPv6
	canDivert bool     // an in-process stack is there
	probe     probe
}

// NewFilter makes a filter for a machine with these overlay addresses; either may be invalid. unanswered (may be nil)
// is called, briefly, when the kernel leaves a connection to the listener unanswered.
func NewFilter(addr4, addr6 netip.Addr, now func() time.Time, unanswered func()) *Filter {
	f := &Filter{now: now, unanswered: unanswered, table: newTable(), peers: map[addr]string{}, admitted: map[string]bool{}}
	if f.unanswered == nil {
		f.unanswered = func() {}
	}
	if addr4.IsValid() {
		f.own4, f.has4 = toAddr(addr4), true
	}
	if addr6.IsValid() {
		f.own6, f.has6 = toAddr(addr6), true
	}
	return f
}

// SetPeers tells the filter whose addresses are whose. Flows with addresses that changed hands are forgotten.
func (f *Filter) SetPeers(peers map[netip.Addr]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.peers
	f.peers = make(map[addr]string, len(peers))
	for a, id := range peers {
		f.peers[toAddr(a.Unmap())] = id
	}
	for _, fl := range f.table.flows {
		id, ok := f.peers[fl.key.remote]
		if before, had := was[fl.key.remote]; had && (!ok || before != id) || fl.ssh && fl.peer != "" && ok && fl.peer != id {
			f.table.remove(fl)
		}
	}
}

// SetAdmit says whether overlay:22 is served and to which peers. Connections that are open stay: whoever ends them can
// still tell the person why.
func (f *Filter) SetAdmit(ssh bool, peerIDs []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ssh = ssh
	f.admitted = make(map[string]bool, len(peerIDs))
	for _, id := range peerIDs {
		f.admitted[id] = true
	}
}

// SetPlace says where new flows of IPv4 and IPv6 end, and whether an in-process stack is there at all.
func (f *Filter) SetPlace(four, six Place, canDivert bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.place = [2]Place{four, six}
	f.canDivert = canDivert
}

// Adopt registers connections that are already open on the kernel's listener: after the process was replaced.
func (f *Filter) Adopt(remotes []netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now().UnixNano()
	for _, r := range remotes {
		k := sshKey(r)
		if f.table.flows[k] == nil && k.remote != f.own4 && k.remote != f.own6 {
			f.table.add(&flow{key: k, peer: f.peers[k.remote], ssh: true, answered: true, opened: true, born: now, seen: now}, now)
		}
	}
}

// Pair is a TCP connection of this machine's kernel.
type Pair struct {
	Local, Remote netip.AddrPort
}

// AdoptOwn registers connections that programs of this machine opened before this process carried the packets. Without
// it a program that listens only, such as an ssh at its prompt, hears nothing until it sends.
func (f *Filter) AdoptOwn(open []Pair) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now().UnixNano()
	for _, c := range open {
		local, remote := toAddr(c.Local.Addr().Unmap()), toAddr(c.Remote.Addr().Unmap())
		if !f.own(local) || f.own(remote) || c.Local.Port() == PortListen || c.Local.Port() == PortSSH {
			continue
		}
		k := key{remote, uint32(c.Remote.Port())<<16 | uint32(c.Local.Port()), protoTCP}
		if f.table.flows[k] == nil {
			f.table.add(&flow{key: k, answered: true, born: now, seen: now}, now)
		}
	}
}

// Source names the peer that opened the connection with this remote address, when the connection is in the flow table.
func (f *Filter) Source(remote netip.AddrPort) (peerID string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := sshKey(remote)
	fl := f.table.flows[k]
	if fl == nil || !fl.ssh || fl.expired(f.now().UnixNano()) {
		return "", false
	}
	if fl.peer == "" { // adopted before the peers were known
		fl.peer = f.peers[k.remote]
	}
	return fl.peer, fl.peer != ""
}

// Flows counts the connections to overlay:22 in the table.
func (f *Filter) Flows() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.table.ssh
}

// Expire forgets flows that were silent for too long. The owner calls it every few seconds.
func (f *Filter) Expire() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.table.expire(f.now().UnixNano())
}

// Inbound decides about one packet from a peer and rewrites it in place.
func (f *Filter) Inbound(p []byte) Verdict {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.inbound(p, f.now().UnixNano())
}

// Outbound decides about one packet from this machine and rewrites it in place.
func (f *Filter) Outbound(p []byte) Verdict {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.outbound(p, f.now().UnixNano())
}

func (f *Filter) own(a addr) bool {
	return f.has4 && a == f.own4 || f.has6 && a == f.own6
}

func (f *Filter) inbound(p []byte, now int64) Verdict {
	var h header
	if !h.parse(p) || h.fragment || !f.own(h.dst) || f.own(h.src) {
		return Drop
	}
	switch h.proto {
	case protoTCP:
		if h.dport == PortSSH {
			return f.inboundSSH(p, &h, now)
		}
		if h.dport == PortListen {
			return Drop
		}
		fl := f.table.find(key{h.src, uint32(h.sport)<<16 | uint32(h.dport), protoTCP}, &f.table.lastIn)
		if fl == nil || fl.ssh {
			return Drop
		}
		fl.seen, fl.answered = now, true
		fl.finIn = fl.finIn || h.flags&flagFIN != 0
		fl.reset = fl.reset || h.flags&flagRST != 0
		return Pass
	case protoUDP:
		fl := f.table.find(key{h.src, uint32(h.sport)<<16 | uint32(h.dport), protoUDP}, &f.table.lastIn)
		if fl == nil {
			return Drop
		}
		fl.seen, fl.answered = now, true
		return Pass
	}
	return f.inboundICMP(p, &h, now)
}

func (f *Filter) inboundSSH(p []byte, h *header, now int64) Verdict {
	k := key{h.src, uint32(h.sport)<<16 | PortListen, protoTCP}
	fl := f.table.find(k, &f.table.lastIn)
	if h.flags&(flagSYN|flagACK|flagRST|flagFIN) == flagSYN {
		if fl = f.admit(fl, k, now); fl == nil {
			return Drop
		}
	}
	if fl == nil {
		return Drop
	}
	fl.seen = now
	fl.opened = fl.opened || fl.answered && h.flags&(flagSYN|flagACK) == flagACK
	fl.finIn = fl.finIn || h.flags&flagFIN != 0
	fl.reset = fl.reset || h.flags&flagRST != 0
	setPort(p, h.l4, h.l4+2, PortListen)
	if fl.place == Netstack {
		return PassNetstack
	}
	return Pass
}

// admit answers a SYN to overlay:22: the flow that it opens or belongs to, or nil.
func (f *Filter) admit(fl *flow, k key, now int64) *flow {
	id, known := f.peers[k.remote]
	if !f.ssh || !known || !f.admitted[id] {
		return nil
	}
	if fl != nil && fl.peer == id && !fl.closing() && !fl.expired(now) {
		if !fl.answered && fl.place == Kernel {
			// The peer repeats itself: the kernel was silent. Something on this machine dropped the first.
			f.unanswered()
			if f.canDivert {
				fl.place = Netstack
			}
		}
		return fl
	}
	if fl != nil {
		f.table.remove(fl)
	}
	place := f.place[0]
	if !k.remote.is4() {
		place = f.place[1]
	}
	fl = &flow{key: k, peer: id, ssh: true, place: place, born: now, seen: now}
	if !f.table.add(fl, now) {
		return nil
	}
	f.table.lastIn = fl
	return fl
}

func (f *Filter) inboundICMP(p []byte, h *header, now int64) Verdict {
	v6 := h.proto == protoICMPv6
	switch {
	case !v6 && h.icmp == 8, v6 && h.icmp == 128: // echo request
		if _, known := f.peers[h.src]; !known {
			return Drop
		}
		return Pass
	case !v6 && h.icmp == 0, v6 && h.icmp == 129: // echo reply
		fl := f.table.find(key{h.src, uint32(h.id), uint32(h.proto)}, &f.table.lastIn)
		if fl == nil {
			return Drop
		}
		fl.seen = now
		return Pass
	case !v6 && (h.icmp == 3 || h.icmp == 11 || h.icmp == 12), v6 && h.icmp >= 1 && h.icmp <= 4: // errors
		// An error is about a packet that this machine sent to that very peer; nobody else stands between the two. Errors
		// about redirected flows name port 22, which the kernel does not know: they are dropped, TCP repeats instead.
		src, dst, proto, sport, dport, ok := h.inner(p)
		if !ok || !f.own(src) || dst != h.src {
			return Drop
		}
		k := key{dst, uint32(dport)<<16 | uint32(sport), uint32(proto)}
		if fl := f.table.flows[k]; fl != nil && !fl.ssh {
			return Pass
		}
	}
	return Drop
}

func (f *Filter) outbound(p []byte, now int64) Verdict {
	var h header
	if !h.parse(p) || !f.own(h.src) {
		return Drop
	}
	if h.fragment {
		return Pass
	}
	k := key{h.dst, uint32(h.dport)<<16 | uint32(h.sport), uint32(h.proto)}
	switch h.proto {
	case protoTCP:
		if h.sport == PortListen {
			return f.outboundSSH(p, &h, k, now)
		}
		if h.sport == PortSSH { // nothing inbound reaches port 22, so nothing can be answered from it
			return Drop
		}
	case protoUDP:
	default:
		if h.icmp != 8 && h.icmp != 128 {
			return Pass
		}
		k.ports = uint32(h.id)
	}
	fl := f.table.find(k, &f.table.lastOut)
	if fl == nil || h.flags&(flagSYN|flagACK) == flagSYN && fl.closing() {
		if fl != nil {
			f.table.remove(fl)
		}
		// Any packet opens the flow, not only a SYN: after a restart the connections that were open go on. Nothing
		// inbound could have caused it, since what belongs to no flow is dropped.
		if _, known := f.peers[h.dst]; !known || h.flags&flagRST != 0 {
			return Drop
		}
		fl = &flow{key: k, born: now, answered: h.proto == protoTCP && h.flags&flagSYN == 0}
		if !f.table.add(fl, now) {
			return Drop
		}
		f.table.lastOut = fl
	}
	fl.seen = now
	fl.finOut = fl.finOut || h.flags&flagFIN != 0
	fl.reset = fl.reset || h.flags&flagRST != 0
	return Pass
}

func (f *Filter) outboundSSH(p []byte, h *header, k key, now int64) Verdict {
	fl := f.table.find(k, &f.table.lastOut)
	if fl == nil {
		if f.probe.answer(h) {
			return Probe
		}
		return Drop
	}
	fl.seen, fl.answered = now, true
	fl.finOut = fl.finOut || h.flags&flagFIN != 0
	fl.reset = fl.reset || h.flags&flagRST != 0
	setPort(p, h.l4, h.l4, PortSSH)
	return Pass
}
