package idp

import (
	"net/netip"
	"strings"
	"sync"
	"time"
)

const (
	freeForAccount = 5 // attempts before an account's next one has to wait
	freeForSource  = 20
	// An account's wait is short, or a stranger could lock people out; a source's is longer.
	maxAccountWait = 30 * time.Second
	maxSourceWait  = 5 * time.Minute
	forgetAfter    = time.Hour
	maxTracked     = 20000
)

// throttle makes guessing passwords slow: for each account and each source, the wait doubles with every attempt
// that fails. It counts accounts that do not exist just the same, and it counts an attempt when it begins, so that
// many at once gain nothing.
type throttle struct {
	now func() time.Time

	mu    sync.Mutex // guards tries
	tries map[string]*attempts
}

type attempts struct {
	failed int
	last   time.Time
}

// begin counts an attempt. It reports how long to wait before trying instead; 0 means go on.
func (t *throttle) begin(account string, from netip.Addr) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	t.prune(now)
	a, s := t.entry("a:"+strings.ToLower(account), now), t.entry(sourceKey(from), now)
	wait := max(a.wait(now, freeForAccount, maxAccountWait), s.wait(now, freeForSource, maxSourceWait))
	if wait > 0 {
		return wait
	}
	for _, e := range []*attempts{a, s} {
		e.failed++
		e.last = now
	}
	return 0
}

// succeeded forgets the account's failures and takes the attempt back from its source.
func (t *throttle) succeeded(account string, from netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.tries, "a:"+strings.ToLower(account))
	if s := t.tries[sourceKey(from)]; s != nil && s.failed > 0 {
		s.failed--
	}
}

func (t *throttle) entry(key string, now time.Time) *attempts {
	e := t.tries[key]
	if e == nil {
		e = &attempts{last: now}
		if t.tries == nil {
			t.tries = map[string]*attempts{}
		}
		t.tries[key] = e
	}
	return e
}

func (t *throttle) prune(now time.Time) {
	if len(t.tries) < maxTracked {
		return
	}
	for k, e := range t.tries {
		if now.Sub(e.last) > forgetAfter || len(t.tries) > 2*maxTracked {
			delete(t.tries, k)
		}
	}
}

func (a *attempts) wait(now time.Time, free int, longest time.Duration) time.Duration {
	if now.Sub(a.last) > forgetAfter {
		a.failed = 0
	}
	over := a.failed - free
	if over < 0 {
		return 0
	}
	pause := longest
	if over < 16 {
		pause = min(longest, time.Second<<over)
	}
	return max(0, a.last.Add(pause).Sub(now))
}

// sourceKey groups IPv6 addresses by /64: one subscriber has them all.
func sourceKey(a netip.Addr) string {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return "s:" + p.String()
		}
	}
	return "s:" + a.String()
}
