package calm

import (
	"testing"
	"time"
)

// judge takes down what Within says.
type judge struct {
	*testing.T
	failed bool
}

func (j *judge) Errorf(string, ...any) { j.failed = true }
func (j *judge) Failed() bool          { return j.failed }

func TestWhatIsLateAgainAndAgainFails(t *testing.T) {
	for name, c := range map[string]struct {
		took   func(try int) time.Duration
		tries  int
		failed bool
	}{
		"in time":         {func(int) time.Duration { return time.Hour }, 1, false},
		"late twice":      {func(try int) time.Duration { return time.Hour + time.Duration(3-try) }, 3, false},
		"late every time": {func(int) time.Duration { return 2 * time.Hour }, tries, true},
	} {
		j, made := &judge{T: t}, 0
		Within(j, time.Hour, func() time.Duration { made++; return c.took(made) })
		if made != c.tries || j.failed != c.failed {
			t.Errorf("%s: %d tries, failed %v", name, made, j.failed)
		}
	}
}

// A machine that stood still gets more tries, and not without end.
func TestWhatAMachineThatStandsStillHoldsUpIsDoneAgain(t *testing.T) {
	for name, inTime := range map[string]int{"in time at last": tries + 2, "never": atMost + 1} {
		j, made := &judge{T: t}, 0
		Within(j, -time.Hour, func() time.Duration { // none at all is more stillness than a tenth of that
			if made++; made == inTime {
				return -time.Hour
			}
			return 0
		})
		if want := min(inTime, atMost); made != want || j.failed != (inTime > atMost) {
			t.Errorf("%s: %d tries of %d, failed %v", name, made, want, j.failed)
		}
	}
}
