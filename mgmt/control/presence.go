package control

import (
	"context"
	"maps"
	"slices"
	"time"

	"lanyard/mgmt/api"
)

// Times of presence.
const (
	// tellEvery is how long at least lies between two messages of who came and went to the same follower, but for the
	// first of a connection: whatever happens in it makes one message.
	tellEvery = time.Second
	// blink is how long a machine that stopped following counts as connected still: a service that is restarted or
	// upgraded, or a laptop that changes its network, is back within it.
	blink = 3 * time.Second
	// comeBack is how long after this process began nothing is told of machines that did not come yet: they try again
	// every 22 s at least (service/netmap).
	comeBack = 30 * time.Second
)

// presence is who is told of as connected. Control.mu guards it.
type presence struct {
	shown   map[string][]string  // by peer id: the peers that its newest map shows, sorted
	leaving map[string]time.Time // who stopped following, and when that is told
	settled bool                 // who was to come back after the start of this process has come
	stir    chan struct{}        // has an element when tell has something to look at
}

func newPresence() presence {
	return presence{shown: map[string][]string{}, leaving: map[string]time.Time{}, stir: make(chan struct{}, 1)}
}

func peerIDs(m *api.Map) []string {
	ids := make([]string, len(m.Peers))
	for i, p := range m.Peers {
		ids[i] = p.ID
	}
	slices.Sort(ids)
	return ids
}

// show takes over which peers the newest maps show. Followers are told of those that are new to them. c.mu is held.
func (c *Control) show(shown map[string][]string) {
	for id, conn := range c.conns {
		if slices.Equal(c.shown[id], shown[id]) {
			continue
		}
		for _, other := range shown[id] {
			if _, old := slices.BinarySearch(c.shown[id], other); !old {
				conn.news[other] = true
			}
		}
	}
	c.shown = shown
	signal(c.stir)
}

// shownTo are the peers whose presence a follower may know. c.mu is held.
func (c *Control) shownTo(peerID string) map[string]bool {
	ids := make(map[string]bool, len(c.shown[peerID]))
	for _, id := range c.shown[peerID] {
		ids[id] = true
	}
	return ids
}

// came and left note that a peer began or ceased to follow. c.mu is held.
func (c *Control) came(peerID string) {
	if _, blinked := c.leaving[peerID]; blinked {
		delete(c.leaving, peerID)
		return
	}
	c.moved(peerID)
}

func (c *Control) left(peerID string) {
	c.leaving[peerID] = time.Now().Add(blink)
	signal(c.stir)
}

// moved leaves a word about a peer for each follower whose map shows it. c.mu is held.
func (c *Control) moved(peerID string) {
	for id, conn := range c.conns {
		if _, ok := slices.BinarySearch(c.shown[id], peerID); ok {
			conn.news[peerID] = true
		}
	}
	signal(c.stir)
}

// tell has followers told of who came and went.
func (c *Control) tell(ctx context.Context) {
	came := time.NewTimer(comeBack)
	defer came.Stop()
	look := time.NewTimer(0)
	defer look.Stop()
	var told time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-came.C:
			c.allBack()
		case <-c.stir:
		case <-look.C:
		}
		pause := time.NewTimer(max(settle, time.Until(told.Add(tellEvery)))) // whoever comes and goes meanwhile is in it
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		told = time.Now()
		if next := c.flush(told); !next.IsZero() {
			look.Reset(time.Until(next))
		}
	}
}

// allBack: from now on, who did not come is not there.
func (c *Control) allBack() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settled = true
	for id, conn := range c.conns {
		for _, other := range c.shown[id] {
			if !c.here(other) {
				conn.news[other] = true
			}
		}
	}
}

// flush lets followers take what they were not told yet, and returns when the next of those that left is to be told of;
// zero: nobody.
func (c *Control) flush(now time.Time) (next time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, at := range c.leaving {
		if !at.After(now) {
			delete(c.leaving, id)
			c.moved(id)
		} else if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	for _, conn := range c.conns {
		if len(conn.news) > 0 {
			conn.due = true
			signal(conn.moved)
		}
	}
	return next
}

// here reports whether a peer counts as connected. c.mu is held.
func (c *Control) here(peerID string) bool {
	_, leaving := c.leaving[peerID]
	return leaving || c.conns[peerID] != nil
}

// Moved has an element whenever there may be a presence to take.
func (n *Conn) Moved() <-chan struct{} { return n.moved }

// TakePresence returns what the follower was not told yet, or nil. It only ever speaks of peers that the map shows which
// was taken before: while a newer one waits, this does too.
func (n *Conn) TakePresence() *api.Presence {
	c := n.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if !n.due || n.next != nil {
		return nil
	}
	var p api.Presence
	for _, id := range slices.Sorted(maps.Keys(n.news)) {
		if _, ok := slices.BinarySearch(c.shown[n.peerID], id); !ok {
			continue // it left the map meanwhile
		}
		_, met := c.observed[id] // since this process began
		switch {
		case c.here(id):
			p.Online = append(p.Online, id)
		case met || c.settled:
			p.Offline = append(p.Offline, id)
		}
	}
	clear(n.news)
	n.due = false
	if p.Online == nil && p.Offline == nil {
		return nil
	}
	return &p
}
