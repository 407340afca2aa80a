package sshd

import (
	"context"
	"math"
	"sync"
	"time"

	"lanyard/mgmt/api/reason"
)

// refusals remembers which source peers were refused lately. Who was refused often waits before their next handshake,
// longer each time; others do not. A success forgives all, and time does, too.
type refusals struct {
	now  func() time.Time
	free int           // refusals that delay nothing; negative: none does
	most time.Duration // a handshake waits at most that long

	mu      sync.Mutex // guards the rest
	sources map[string]refused
}

// refused is how often a source was refused: count at the time at, of which one is forgiven every forgiveTime.
type refused struct {
	count float64
	at    time.Time
}

// Ten refusals a minute are forgiven. Those beyond the free ones count as ten at most, so that it takes a minute until
// nothing is delayed any more, however many there were.
const (
	forgiveTime = 6 * time.Second
	overMost    = 10
	firstDelay  = 250 * time.Millisecond // doubles with each further refusal
	maxSources  = 4096                   // that are remembered
)

func newRefusals(now func() time.Time, l Limits) *refusals {
	return &refusals{now: now, free: l.Refusals, most: l.LoginGrace / 10, sources: make(map[string]refused)}
}

// left is what of r is not forgiven.
func (r refused) left(now time.Time) float64 {
	return max(0, r.count-max(0, now.Sub(r.at)).Seconds()/forgiveTime.Seconds())
}

// add counts a refusal of source.
func (r *refusals) add(source string) {
	if r.free < 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if _, known := r.sources[source]; !known && len(r.sources) >= maxSources {
		r.makeRoom(now)
	}
	r.sources[source] = refused{count: min(r.sources[source].left(now)+1, float64(r.free+overMost)), at: now}
}

// makeRoom forgets all sources that are forgiven, else the one that was refused least. The caller holds r.mu.
func (r *refusals) makeRoom(now time.Time) {
	least, of := math.MaxFloat64, ""
	for source, x := range r.sources {
		left := x.left(now)
		if left == 0 {
			delete(r.sources, source)
		} else if left < least {
			least, of = left, source
		}
	}
	if len(r.sources) >= maxSources {
		delete(r.sources, of)
	}
}

// clear forgives source everything.
func (r *refusals) clear(source string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sources, source)
}

// delay is how long the next handshake of source has to wait.
func (r *refusals) delay(source string) time.Duration {
	if r.free < 0 {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var d time.Duration
	for over := r.sources[source].left(r.now()) - float64(r.free); over > 0 && d < r.most; over-- {
		d = max(2*d, firstDelay)
	}
	return min(d, r.most)
}

// wait delays the handshake, unless the server closes.
func (c *conn) wait(d time.Duration) {
	ctx, cancel := context.WithTimeout(c.s.life, d)
	defer cancel()
	c.mu.Lock()
	c.life = cancel
	ended := c.ended != ""
	c.mu.Unlock()
	if ended {
		return
	}
	<-ctx.Done()
	c.mu.Lock()
	c.life = nil
	c.mu.Unlock()
}

// guessed says of a handshake that failed whether it counts as a refusal: the client tried to authenticate and was
// refused for what it brought. A person who is slow at the prompt, or leaves it, guesses nothing, and what ails this
// machine is not the client's doing.
func (c *conn) guessed(tries int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.told {
	case reason.SignInExpired, reason.SignInDown, reason.NoLogins, reason.Disabled, reason.MapStale, reason.AuditFull,
		reason.TooMany, reason.Internal, reason.Shutdown:
		return false
	case "", reason.TokenMissing:
		return tries > 0 && !c.prompted && c.ended == ""
	}
	return c.ended == ""
}
