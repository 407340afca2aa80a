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
	if ahead := t.Sub(now); ahead > time.Duration(b.burst-1)*b.refill {
		return ahead - time.Duration(b.burst-1)*b.refill
	}
	if b.until == nil {
		b.until = map[[sha256.Size]byte]time.Time{}
	}
	b.until[id] = t.Add(b.refill)
	return 0
}
