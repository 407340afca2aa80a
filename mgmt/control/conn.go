package control

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/store"
)

// Conn is a peer that follows. Its fields are guarded by Control.mu.
type Conn struct {
	c      *Control
	peerID string

	next  *store.StoredMap // newest map not taken yet
	ready chan struct{}    // has an element while next is set
	gone  chan string      // the sentence that ends the connection; closed without one when it is replaced

	sent  uint64
	acked uint64
	ended []endedAt
	over  bool

	news  map[string]bool // ids of peers whose presence is to be told
	due   bool            // now
	moved chan struct{}   // has an element when there may be a Presence to take
}

type endedAt struct {
	version  uint64
	sessions []string
}

// Attach registers a peer that follows from addr and has the given map. An older connection of it ends.
func (c *Control) Attach(ctx context.Context, peerID string, have api.Have, addr netip.Addr) (*Conn, error) {
	conn := newConn(c, peerID)
	c.mu.Lock()
	moved := c.observed[peerID] != addr
	c.observed[peerID] = addr
	c.enter(conn)
	c.mu.Unlock()

	m, err := c.newest(ctx, peerID)
	if err != nil {
		c.Detach(conn)
		return nil, err
	}
	if newer(have, m.Epoch, m.Version) {
		c.Log.Warn("a peer has a newer network map than this server remembers making; was the database restored from a backup? New maps are made above that version",
			"peer", peerID, "epoch", have.Epoch, "version", have.Version)
		if m, err = c.overtake(ctx, peerID, have, m); err != nil {
			c.Detach(conn)
			return nil, err
		}
	}
	c.mu.Lock()
	conn.news, conn.due = c.shownTo(peerID), true
	if have.Epoch == m.Epoch && have.Version == m.Version {
		conn.sent, conn.acked = m.Version, m.Version
		signal(conn.moved)
	} else {
		conn.offer(&m)
	}
	c.mu.Unlock()
	if moved {
		c.Touch()
	}
	return conn, nil
}

func newConn(c *Control, peerID string) *Conn {
	return &Conn{
		c: c, peerID: peerID, ready: make(chan struct{}, 1), gone: make(chan string, 1),
		news: map[string]bool{}, moved: make(chan struct{}, 1),
	}
}

// enter registers conn in the place of an older one, which ends. c.mu is held.
func (c *Control) enter(conn *Conn) {
	old := c.conns[conn.peerID]
	if old != nil {
		old.end("")
	}
	c.conns[conn.peerID] = conn
	if old == nil {
		c.came(conn.peerID)
	}
}

func newer(have api.Have, epoch, version uint64) bool {
	return have.Epoch > epoch || have.Epoch == epoch && have.Version > version
}

// How far one peer's word may push the clock of all maps: an epoch is a time (see Restored), and not of the future; of
// versions there is room for billions of such pushes in 64 bits.
const (
	maxAhead    = 24 * time.Hour
	maxVersions = 1 << 32
)

// overtake makes a map for a peer that is newer than the one that it has, of which this database knows nothing: it
// would refuse all others.
func (c *Control) overtake(ctx context.Context, peerID string, have api.Have, m store.StoredMap) (store.StoredMap, error) {
	err := c.Store.Tx(ctx, func(q *store.Queries) error {
		clock, err := q.Clock(ctx)
		if err != nil {
			return err
		}
		switch {
		case have.Epoch > clock.Epoch:
			if have.Epoch > uint64(max(0, c.Now().Add(maxAhead).Unix())) || have.Version > maxVersions {
				return nil // no server ever made that
			}
			clock = store.Clock{Epoch: have.Epoch, Version: max(have.Version, clock.Version)}
		case have.Epoch == clock.Epoch && have.Version > clock.Version:
			if have.Version-clock.Version > maxVersions {
				return nil
			}
			clock.Version = have.Version
		}
		if err := q.PutClock(ctx, clock); err != nil {
			return err
		}
		return q.ForgetMap(ctx, peerID)
	})
	if err != nil {
		return m, err
	}
	return c.newest(ctx, peerID)
}

// look is how often somebody who waits for a compilation looks whether it was made.
const look = 5 * time.Millisecond

// newest returns the stored map of a peer, after a compilation when there was none since it joined or since this
// process started. What a change has stored is for its own Apply to put in force and to tell of: while one is under
// way, this waits for its compilation. It does not wait for its end, as that may wait for this peer's word.
func (c *Control) newest(ctx context.Context, peerID string) (store.StoredMap, error) {
	for {
		c.mu.Lock()
		compiled := c.compiled
		c.mu.Unlock()
		if compiled {
			m, err := c.Store.Map(ctx, peerID)
			if !errors.Is(err, store.ErrNotFound) {
				return m, err
			}
		}
		if c.changing.TryLock() { // never queueing: a change must not wait for this
			_, err := c.compile(ctx)
			c.changing.Unlock()
			if err != nil {
				return store.StoredMap{}, err
			}
			return c.Store.Map(ctx, peerID)
		}
		select {
		case <-ctx.Done():
			return store.StoredMap{}, ctx.Err()
		case <-time.After(look):
		}
	}
}

// Detach forgets a connection that ended.
func (c *Control) Detach(conn *Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns[conn.peerID] == conn {
		delete(c.conns, conn.peerID)
		c.left(conn.peerID)
	}
	c.beat()
}

// Gone tells a removed peer so and ends its connection.
func (c *Control) Gone(peerID, sentence string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn := c.conns[peerID]; conn != nil {
		conn.end(sentence)
		delete(c.conns, peerID)
	}
}

// Online reports whether the peer follows now.
func (c *Control) Online(peerID string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conns[peerID] != nil
}

// beat wakes those who wait for acknowledgements. c.mu is held.
func (c *Control) beat() {
	close(c.pulse)
	c.pulse = make(chan struct{})
}

// offer leaves the newest map to be taken. c.mu is held.
func (n *Conn) offer(m *store.StoredMap) {
	if m.Version <= n.sent && n.next == nil {
		return
	}
	if n.next != nil && n.next.Version >= m.Version {
		return
	}
	n.next = m
	signal(n.ready)
}

// signal leaves an element in ch, which has room for one.
func signal(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// end ends the connection. c.mu is held.
func (n *Conn) end(sentence string) {
	if n.over {
		return
	}
	n.over = true
	if sentence != "" {
		n.gone <- sentence
	}
	close(n.gone)
}

// Ready has an element whenever there is a map to Take.
func (n *Conn) Ready() <-chan struct{} { return n.ready }

// Gone yields the sentence to tell the peer, or is closed, when the connection must end.
func (n *Conn) Gone() <-chan string { return n.gone }

// Take returns the newest map that was not taken yet, or nil.
func (n *Conn) Take() *api.SignedMap {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	m := n.next
	if m == nil {
		return nil
	}
	n.next, n.sent = nil, m.Version
	if n.due { // it waited for the map
		signal(n.moved)
	}
	return &m.Signed
}

// Ack notes that the peer put a version in force. A version that was never sent is ignored.
func (n *Conn) Ack(a api.Ack) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	if a.Version > n.sent {
		return
	}
	n.acked = max(n.acked, a.Version)
	if len(a.Ended) > 0 {
		n.ended = append(n.ended, endedAt{a.Version, a.Ended})
		if len(n.ended) > 16 {
			n.ended = n.ended[1:]
		}
	}
	n.c.beat()
}

// endedSince lists the sessions that ended by version or a later one. c.mu is held.
func (n *Conn) endedSince(version uint64) []string {
	var out []string
	for _, e := range n.ended {
		if e.version >= version {
			out = append(out, e.sessions...)
		}
	}
	return out
}
