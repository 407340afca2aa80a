package server

import (
	"sync"
	"time"
)

// bucket limits how often something happens for each key (an address, an account): burst at once, then one per
// refill.
type bucket struct {
	burst  int
	refill time.Duration

	mu    sync.Mutex // guards until
	until map[string]time.Time
}

// wait counts one event and reports how long the caller would have to wait; 0 means go on.
func (b *bucket) wait(key string, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.until) > 10000 { // bounded memory whoever asks; forget what has run out
		for k, t := range b.until {
			if t.Before(now) {
				delete(b.until, k)
			}
		}
	}
	t := b.until[key]
	if t.Before(now) {
		t = now
	}
	if ahead := t.Sub(now); ahead > time.Duration(b.burst-1)*b.refill {
		return ahead - time.Duration(b.burst-1)*b.refill
	}
	if b.until == nil {
		b.until = map[string]time.Time{}
	}
	b.until[key] = t.Add(b.refill)
	return 0
}
