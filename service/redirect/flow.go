package redirect

import (
	"net/netip"
	"time"
)

// Bounds of the flow table, and how long a flow is kept after its last packet.
const (
	maxSSH     = 8192  // connections to overlay:22
	maxSSHPeer = 1024  // of them, from one peer
	maxOut     = 65536 // flows that this machine opened

	idleOpening = 30 * time.Second // SYN seen, no answer yet
	idleSSH     = 10 * time.Minute // both listeners send TCP keepalives every 15 s, so silence means it is gone
	idleTCP     = 24 * time.Hour   // a program of this machine may keep a silent connection open
	idleClosing = 60 * time.Second // FIN both ways, or RST: late packets still find their flow
	idleUDP     = 3 * time.Minute
	idleICMP    = 30 * time.Second
)

// Place is where a flow to overlay:22 ends on this machine.
type Place uint8

// The places; see the package comment.
const (
	Kernel Place = iota
	Netstack
)

func (p Place) String() string {
	if p == Netstack {
		return "netstack"
	}
	return "kernel"
}

// key finds a flow: the other side's address and port, our port, the protocol. Our address follows from the family.
type key struct {
	remote addr
	ports  uint32 // remote port << 16 | local port; ICMP: the echo's identifier
	proto  uint32
}

type flow struct {
	key      key
	peer     string // the admitted peer; empty for flows that this machine opened
	seen     int64  // Unix nanoseconds of the last packet
	born     int64
	ssh      bool // to overlay:22
	place    Place
	answered bool // a packet of the other direction was seen
	opened   bool // to overlay:22: the peer went on after our answer; a SYN alone holds no place for long
	finIn    bool
	finOut   bool
	reset    bool
}

func (f *flow) idle() time.Duration {
	switch {
	case f.key.proto == protoUDP:
		return idleUDP
	case f.key.proto != protoTCP:
		return idleICMP
	case f.reset || f.finIn && f.finOut:
		return idleClosing
	case !f.established():
		return idleOpening
	case f.ssh:
		return idleSSH
	}
	return idleTCP
}

func (f *flow) expired(now int64) bool { return now-f.seen > int64(f.idle()) }

func (f *flow) established() bool { return f.answered && (f.opened || !f.ssh) }

func (f *flow) closing() bool { return f.reset || f.finIn && f.finOut }

// table is the flow table; the Filter's lock guards it.
type table struct {
	flows   map[key]*flow
	lastIn  *flow // the flow of the last inbound and outbound packet: bulk transfers stay on one flow
	lastOut *flow
	ssh     int
	out     int
	perPeer map[string]int // ssh flows
}

func newTable() table {
	return table{flows: map[key]*flow{}, perPeer: map[string]int{}}
}

func (t *table) find(k key, last **flow) *flow {
	if f := *last; f != nil && f.key == k {
		return f
	}
	f := t.flows[k]
	if f != nil {
		*last = f
	}
	return f
}

func (t *table) remove(f *flow) {
	delete(t.flows, f.key)
	if t.lastIn == f {
		t.lastIn = nil
	}
	if t.lastOut == f {
		t.lastOut = nil
	}
	if !f.ssh {
		t.out--
		return
	}
	t.ssh--
	if t.perPeer[f.peer]--; t.perPeer[f.peer] <= 0 {
		delete(t.perPeer, f.peer)
	}
}

// add stores a flow, or reports false when the table has no room for it.
func (t *table) add(f *flow, now int64) bool {
	if f.ssh {
		if t.perPeer[f.peer] >= maxSSHPeer && !t.makeRoom(now, func(o *flow) bool { return o.ssh && o.peer == f.peer }) {
			return false
		}
		if t.ssh >= maxSSH && !t.makeRoom(now, func(o *flow) bool { return o.ssh }) {
			return false
		}
		t.ssh++
		t.perPeer[f.peer]++
	} else {
		if t.out >= maxOut && !t.makeRoomOut(now) {
			return false
		}
		t.out++
	}
	t.flows[f.key] = f
	return true
}

// makeRoom drops a connection to overlay:22 that nobody would miss: one that has ended or never opened. Established ones
// are never dropped for new ones.
func (t *table) makeRoom(now int64, among func(*flow) bool) bool {
	var oldest *flow
	for _, f := range t.flows {
		if !among(f) || f.established() && !f.closing() && !f.expired(now) {
			continue
		}
		if oldest == nil || f.seen < oldest.seen {
			oldest = f
		}
	}
	if oldest == nil {
		return false
	}
	t.remove(oldest)
	return true
}

// makeRoomOut drops the oldest of a few outgoing flows (the order of a map's range is random): their next outgoing
// packet makes them again.
func (t *table) makeRoomOut(now int64) bool {
	var oldest *flow
	looked := 0
	for _, f := range t.flows {
		if f.ssh {
			continue
		}
		if oldest == nil || f.seen < oldest.seen {
			oldest = f
		}
		if looked++; looked >= 16 {
			break
		}
	}
	if oldest == nil {
		return false
	}
	t.remove(oldest)
	return true
}

func (t *table) expire(now int64) {
	for _, f := range t.flows {
		if f.expired(now) {
			t.remove(f)
		}
	}
}

func sshKey(remote netip.AddrPort) key {
	return key{toAddr(remote.Addr().Unmap()), uint32(remote.Port())<<16 | PortListen, protoTCP}
}
