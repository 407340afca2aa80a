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

// tries is how many may take too long, and atMost how many are made where the machine stands still in between.
const tries, atMost = 3, 20

// failing is the part of testing.TB that Within needs.
type failing interface {
	Helper()
	Failed() bool
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
}

// Within wants do, which says how long it took, to need no longer than most. What else a machine does only adds to that: what
// took longer is done again. Three times are enough, but for those of which the machine stood still for a tenth of most.
func Within(t failing, most time.Duration, do func() time.Duration) {
	t.Helper()
	for try, late := 1, 0; late < tries; try++ {
		began, clock := time.Now(), Start()
		took := do()
		still := time.Since(began) - clock.Stop()
		if t.Failed() || took <= most {
			return
		}
		t.Logf("it took %s; the machine stood still for %s meanwhile", took, still)
		if still < most/10 || try > atMost-tries {
			late++
		}
	}
	t.Errorf("again and again it took longer than %s", most)
}
