// Package calm measures for tests how long something took, without what the machine had no time for.
//
// A promise like "within four seconds" is about the program. A machine that stands still for three, or that has ten other
// programs to serve, adds to it, and a test that goes by the wall's clock fails for that. A Clock goes on in small steps,
// by a goroutine of the same process: a step that came late, as this process was not served meanwhile, counts little.
package calm

import (
	"sync"
	"time"
)

const (
	step = 5 * time.Millisecond
	most = 4 * step // that one step counts
)

// Clock goes on while this process is served.
type Clock struct {
	stop    chan struct{}
	stopped sync.WaitGroup

	mu   sync.Mutex // guards what follows
	took time.Duration
	last time.Time
}

// Start starts a clock, which goes on until Stop.
func Start() *Clock {
	c := &Clock{stop: make(chan struct{}), last: time.Now()}
	c.stopped.Go(func() {
		tick := time.NewTicker(step)
		defer tick.Stop()
		for {
			select {
			case <-c.stop:
				return
			case <-tick.C:
				c.Took()
			}
		}
	})
	return c
}

// Took is how long the clock has gone on.
func (c *Clock) Took() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.took += min(now.Sub(c.last), most)
	c.last = now
	return c.took
}

// Stop stops the clock, and returns how long it has gone on.
func (c *Clock) Stop() time.Duration {
	took := c.Took()
	close(c.stop)
	c.stopped.Wait()
	return took
}
