package idp

import (
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"
)

// Attempts before the next one has to wait, and the longest waits.
const (
	freeForPair    = 5  // of one place at one account
	freeForPlace   = 20 // of one place at any account, of one address at any account
	freeForAccount = 20 // of all strange places at one account
	freeForCodes   = 20 // codes typed from one address

	maxPairWait    = 30 * time.Second // also of a known place: this is what slows down who sits there
	maxPlaceWait   = 5 * time.Minute
	maxAccountWait = 30 * time.Second // short: somebody else can cause it
	maxCodeWait    = 10 * time.Second // short: a household or an office has one address

	forgetAfter = time.Hour
	maxTracked  = 20000
)

// throttle makes guessing slow: for each account, each place and each pair of them the wait doubles with every
// attempt that fails. It counts accounts that do not exist just the same, and it counts an attempt when it begins, so
// that many at once gain nothing.
//
// It must not become a way to lock somebody out. A place (a local account on an enrolled machine) from which a person
// has signed in before, or which is their own machine, is known for them: attempts from there wait for others from there
// alone, whatever strangers do elsewhere.
type throttle struct {
	now func() time.Time

	mu     sync.Mutex                      // guards what follows
	tries  map[[sha256.Size]byte]*attempts // by the hash of a limit's key, which holds what strangers typed
	pruned time.Time
}

type attempts struct {
	failed int
	last   time.Time
}

// attempt is one try.
type attempt struct {
	account string // lower case
	asker   string // the place; "" for a machine that is not enrolled
	known   bool   // for the account
	from    netip.Addr
}

// limit is one count that an attempt is part of.
type limit struct {
	key     string
	free    int
	longest time.Duration
}

func (a attempt) limits() []limit {
	source := "s:" + SourceKey(a.from)
	if a.account == "" {
		return []limit{{source, freeForCodes, maxCodeWait}}
	}
	pair := limit{"p:" + a.account + "\x00" + a.asker, freeForPair, maxPairWait}
	if a.known {
		return []limit{pair}
	}
	strange := []limit{{"a:" + a.account, freeForAccount, maxAccountWait}, {source, freeForPlace, maxPlaceWait}}
	if a.asker == "" {
		pair.key += source
		return append(strange, pair)
	}
	return append(strange, pair, limit{"m:" + a.asker, freeForPlace, maxPlaceWait})
}

// begin counts an attempt. It reports how long to wait before trying instead; 0 means go on.
func (t *throttle) begin(a attempt) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	t.prune(now)
	var wait time.Duration
	limits := a.limits()
	for _, l := range limits {
		wait = max(wait, t.entry(l.key, now).wait(now, l.free, l.longest))
	}
	if wait > 0 {
		return wait
	}
	for _, l := range limits {
		e := t.entry(l.key, now)
		e.failed++
		e.last = now
	}
	return 0
}

// succeeded forgets the failures of this place at the account, and takes the attempt back from the other counts: they
// are of others too.
func (t *throttle) succeeded(a attempt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range a.limits() {
		if l.key[0] == 'p' {
			delete(t.tries, sha256.Sum256([]byte(l.key)))
		} else if e := t.tries[sha256.Sum256([]byte(l.key))]; e != nil && e.failed > 0 {
			e.failed--
		}
	}
}

func (t *throttle) entry(key string, now time.Time) *attempts {
	id := sha256.Sum256([]byte(key))
	e := t.tries[id]
	if e == nil {
		e = &attempts{last: now}
		if t.tries == nil {
			t.tries = map[[sha256.Size]byte]*attempts{}
		}
		t.tries[id] = e
	}
	return e
}

// prune bounds the memory whoever asks: it looks at all of them once a minute, or when there are twice as many.
func (t *throttle) prune(now time.Time) {
	if len(t.tries) < maxTracked || len(t.tries) < 2*maxTracked && now.Sub(t.pruned) < time.Minute {
		return
	}
	t.pruned = now
	full := len(t.tries) >= 2*maxTracked
	for k, e := range t.tries {
		if now.Sub(e.last) > forgetAfter || full && len(t.tries) > maxTracked {
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

// SourceKey is what limits count an address as: IPv6 addresses by /64, since one subscriber has them all.
func SourceKey(a netip.Addr) string {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}
