// Package control compiles the network map of every peer, signs it, and hands it to the peers that follow.
//
// Every map is compiled again after every change and stored when its content differs from the one before, so a
// peer that was away gets the newest when it comes back, and a peer whose map did not change hears nothing.
package control

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/store"
)

const (
	ackWait = time.Second
	// settle collects changes that are not urgent (endpoints) into one compilation.
	settle = 100 * time.Millisecond
	// beat is how often maps are looked at for their age, at least.
	beat = 30 * time.Second
)

// Config is what a Control needs.
type Config struct {
	Store    *store.Store
	Settings store.Settings
	// Issuers lists the OpenID providers with their keys, as they go into the map.
	Issuers func(context.Context) ([]api.Issuer, error)
	Log     *slog.Logger
	Now     func() time.Time
	// AckWait is how long a change waits for the peers that it concerns; default a second.
	AckWait time.Duration
}

// Control is the fan-out of maps.
type Control struct {
	Config

	changing  sync.RWMutex // held by changes from before they are stored until they are answered; see Change
	compiling sync.Mutex   // one compilation at a time, so that versions rise in the order of the changes

	mu       sync.Mutex            // guards what follows
	conns    map[string]*Conn      // by peer id
	observed map[string]netip.Addr // where each peer was last seen from
	compiled bool                  // since this process started
	due      time.Time             // when a login will have been silent for too long; zero: none
	pulse    chan struct{}         // closed and made anew at every acknowledgement and detachment
	presence                       // who is told of as connected

	began  time.Time // when logins could begin to report to this process; see beginning
	lazy   chan struct{}
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// New starts a Control. Close ends it.
func New(cfg Config) *Control {
	if cfg.AckWait == 0 {
		cfg.AckWait = ackWait
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Control{
		Config: cfg, conns: map[string]*Conn{}, observed: map[string]netip.Addr{}, pulse: make(chan struct{}),
		presence: newPresence(), lazy: make(chan struct{}, 1), cancel: cancel, began: cfg.Now(),
	}
	c.done.Go(func() { c.run(ctx) })
	c.done.Go(func() { c.tell(ctx) })
	return c
}

// Close ends the background work and every connection.
func (c *Control) Close() error {
	c.cancel()
	c.done.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.end("")
	}
	return nil
}

// run compiles after changes that are not urgent and renews maps before they are too old to be believed.
func (c *Control) run(ctx context.Context) {
	for {
		tick := time.NewTimer(c.untilLook())
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		case <-c.lazy:
			tick.Stop()
			select {
			case <-ctx.Done():
				return
			case <-time.After(settle):
			}
		}
		for !c.changing.TryLock() { // never queueing: a change must not wait for this
			select {
			case <-ctx.Done():
				return
			case <-time.After(settle):
			}
		}
		_, err := c.compile(ctx)
		c.changing.Unlock()
		if err != nil && ctx.Err() == nil {
			c.Log.Error("compile the network maps", "err", err)
		}
	}
}

// untilLook is how long the maps can be left alone: until one grows old, or a login was silent for too long.
func (c *Control) untilLook() time.Duration {
	wait := beat
	if age := c.Settings.MaxMapAge / 8; age > 0 {
		wait = min(wait, age)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.due.IsZero() {
		wait = min(wait, c.due.Sub(c.Now())+time.Millisecond)
	}
	return max(wait, settle)
}

// Change begins a change that Apply will tell the effect of: until done is called, no compilation in the background
// puts it in force first, of which Apply would know nothing.
func (c *Control) Change() (done func()) {
	c.changing.RLock()
	return c.changing.RUnlock
}

// Touch asks for a compilation soon, for changes that nobody waits for.
func (c *Control) Touch() {
	select {
	case c.lazy <- struct{}{}:
	default: // one is waiting already
	}
}

// Apply puts a change that was stored in force: it sends the new maps and waits up to a second for the peers that
// serve sessions to acknowledge them.
func (c *Control) Apply(ctx context.Context) (api.Effect, error) {
	effect := api.Effect{Ended: []api.EndedSession{}, Reached: []string{}, Unreached: []string{}}
	changed, err := c.compile(ctx)
	if err != nil {
		return effect, err
	}
	deadline := time.NewTimer(c.AckWait)
	defer deadline.Stop()
	waiting := changed
	for {
		c.mu.Lock()
		pulse := c.pulse
		var left []changedPeer
		for _, p := range waiting {
			conn := c.conns[p.id]
			switch {
			case conn == nil:
				effect.Unreached = append(effect.Unreached, p.name)
			case conn.acked >= p.version:
				effect.Reached = append(effect.Reached, p.name)
				for _, e := range conn.endedSince(p.version) {
					effect.Ended = append(effect.Ended, api.EndedSession{Peer: p.name, Session: e})
				}
			default:
				left = append(left, p)
			}
		}
		c.mu.Unlock()
		waiting = left
		if len(waiting) == 0 {
			break
		}
		select {
		case <-pulse:
			continue
		case <-deadline.C:
		case <-ctx.Done():
		}
		for _, p := range waiting {
			effect.Unreached = append(effect.Unreached, p.name)
		}
		break
	}
	slices.Sort(effect.Reached)
	slices.Sort(effect.Unreached)
	return effect, nil
}

// beginning is when logins could begin to report to this process. By a clock that was set back since, that is now at the
// latest: else nobody would be silent until then.
func (c *Control) beginning(now time.Time) time.Time {
	now = now.Round(0) // by the clock that somebody sets, as tokens tell their time
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.began.Round(0).After(now) {
		c.began = now
	}
	return c.began
}

type changedPeer struct {
	id, name string
	version  uint64
}

// compile makes and stores the maps of all peers, sends those that changed, and returns the peers that serve
// sessions among them.
func (c *Control) compile(ctx context.Context) ([]changedPeer, error) {
	c.compiling.Lock()
	defer c.compiling.Unlock()
	w, err := c.world(ctx)
	if err != nil {
		return nil, fmt.Errorf("read what the network maps are made of: %w", err)
	}
	now := c.Now()
	var changed []changedPeer
	send := map[string]*store.StoredMap{}
	shown := map[string][]string{}
	err = c.Store.Tx(ctx, func(q *store.Queries) error {
		clock, err := q.Clock(ctx)
		if err != nil {
			return err
		}
		version := clock.Version + 1
		for _, p := range w.peers {
			m := w.mapFor(p)
			shown[p.ID] = peerIDs(m)
			content, err := contentHash(m)
			if err != nil {
				return err
			}
			old, err := q.Map(ctx, p.ID)
			if err != nil && err != store.ErrNotFound {
				return err
			}
			same := err == nil && string(old.Content) == string(content) && old.Epoch == clock.Epoch
			// One of later than now was issued while the clock was wrong, and nobody's sign-in is young by it.
			if age := now.Sub(old.Issued); same && age >= 0 && age < c.Settings.MaxMapAge/4 {
				continue
			}
			m.Epoch, m.Version, m.IssuedAt = clock.Epoch, version, now.UTC()
			signed, err := sign(m, c.Settings.Key())
			if err != nil {
				return err
			}
			stored := store.StoredMap{Epoch: m.Epoch, Version: version, Content: content, Issued: now, Signed: *signed}
			if err := q.PutMap(ctx, p.ID, stored); err != nil {
				return err
			}
			send[p.ID] = &stored
			if !same && p.ServesSSH {
				changed = append(changed, changedPeer{id: p.ID, name: p.Name, version: version})
			}
		}
		for login, at := range w.ahead {
			if err := q.HeardNoLater(ctx, login, at); err != nil {
				return err
			}
		}
		for login, since := range w.fell {
			c.Log.Info("a login is not reported any more and is withdrawn", "key", login, "since", since)
			if err := q.FellSilent(ctx, login, since); err != nil {
				return err
			}
		}
		if len(send) == 0 {
			return nil
		}
		clock.Version = version
		return q.PutClock(ctx, clock)
	})
	if err != nil {
		return nil, fmt.Errorf("store the network maps: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, m := range send {
		if conn := c.conns[id]; conn != nil {
			conn.offer(m)
		}
	}
	c.show(shown)
	c.compiled, c.due = true, w.due
	return changed, nil
}

// Restored begins a new epoch, after the database was put back from a backup: peers that saw later versions
// accept the older content again.
func (c *Control) Restored(ctx context.Context) error {
	err := c.Store.Tx(ctx, func(q *store.Queries) error {
		clock, err := q.Clock(ctx)
		if err != nil {
			return err
		}
		clock.Epoch = max(clock.Epoch+1, uint64(c.Now().Unix())) // a backup may be put back twice
		return q.PutClock(ctx, clock)
	})
	if err != nil {
		return err
	}
	_, err = c.compile(ctx)
	return err
}
