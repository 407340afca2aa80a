package server

import (
	"crypto/sha256"
	"sync"
	"time"
)

// bucketKeys is how many keys a bucket has before it looks for those that it may forget.
const bucketKeys = 10000

// bucket limits how often something happens for each key (an address, an account): burst at once, then one per
// refill.
type bucket struct {
	burst  int
	refill time.Duration

	mu    sync.Mutex                      // guards what follows
	until map[[sha256.Size]byte]time.Time // by the hash of the key, which may be of any length
	kept  int                             // by the last look
}

// wait counts one event and reports how long the caller would have to wait; 0 means go on.
func (b *bucket) wait(key string, now time.Time) time.Duration {
	return b.count(key, 1, false, now)
}

// spend counts n events that have happened, however many, and reports how long until they are within the limit; 0 means
// they are.
func (b *bucket) spend(key string, n int, now time.Time) time.Duration {
	return b.count(key, n, true, now)
}

func (b *bucket) count(key string, n int, happened bool, now time.Time) time.Duration {
	id := sha256.Sum256([]byte(key))
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.until) > max(bucketKeys, 2*b.kept) { // bounded memory whoever asks; forget what has run out
		for k, t := range b.until {
			if t.Before(now) {
				delete(b.until, k)
			}
		}
		b.kept = len(b.until)
	}
	t := b.until[id]
	if t.Before(now) {
		t = now
	}
	t = t.Add(time.Duration(n) * b.refill)
	over := max(0, t.Sub(now)-time.Duration(b.burst)*b.refill)
	if over == 0 || happened {
		if b.until == nil {
			b.until = map[[sha256.Size]byte]time.Time{}
		}
		b.until[id] = t
	}
	return over
}
