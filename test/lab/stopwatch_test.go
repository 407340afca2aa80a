//go:build linux

package lab

import (
	"testing"
	"time"
)

// All that is promised within some time is judged by this: a busy machine must not excuse everything.
func TestBusyMachineExcusesPartOfTheTime(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct{ cpu, rest, late, want time.Duration }{
		"a quiet one":                 {0, 0, 0, 0},
		"others wait a little":        {200 * ms, 0, 0, 200 * ms},
		"others wait all the time":    {5000 * ms, 0, 0, 500 * ms},
		"and for disks":               {5000 * ms, 5000 * ms, 0, 750 * ms},
		"for disks alone":             {0, 600 * ms, 0, 600 * ms},
		"this program was late":       {20 * ms, 0, 300 * ms, 300 * ms},
		"it stood still":              {0, 0, 1500 * ms, 1000 * ms},
		"it stood still and was busy": {5000 * ms, 5000 * ms, 900 * ms, 900 * ms},
	} {
		if got := excuse(time.Second, c.cpu, c.rest, c.late); got != c.want {
			t.Errorf("%s: %s of a second, want %s", name, got, c.want)
		}
	}
}

func TestStopwatchGoesNoSlowerThanItMay(t *testing.T) {
	w := StartWatch()
	defer w.Stop()
	for time.Since(w.Began()) < 50*time.Millisecond {
		before := time.Since(w.Began())
		took := w.Took()
		if after := time.Since(w.Began()); took < 0 || took > after {
			t.Fatalf("it says %s between %s and %s", took, before, after)
		}
		time.Sleep(time.Millisecond)
	}
}
