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
		"late twice":      {func(try int) time.Duration { return []time.Duration{5 * time.Hour, 5 * time.Hour, time.Hour}[try-1] }, 3, false}, // others excuse less
		"late every time": {func(int) time.Duration { return 5 * time.Hour }, tries, true},
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
				return -5 * time.Hour // others excuse less
			}
			return 0
		})
		if want := min(inTime, atMost); made != want || j.failed != (inTime > atMost) {
			t.Errorf("%s: %d tries of %d, failed %v", name, made, want, j.failed)
		}
	}
}

// What other programs use of the processors does not count, what one's own do does.
func TestOnlyOthersExcuse(t *testing.T) {
	const sec = time.Second
	for name, c := range map[string]struct {
		after spent
		want  time.Duration
	}{
		"nobody tells":           {spent{}, 2 * sec},
		"a quiet machine":        {spent{10 * sec, 1 * sec, 1 * sec}, 2 * sec},
		"busy with its own":      {spent{10 * sec, 10 * sec, 10 * sec}, 2 * sec},
		"children not yet there": {spent{10 * sec, 1 * sec, 3 * sec}, 2 * sec},
		"half of it for others":  {spent{10 * sec, 9 * sec, 4 * sec}, 1 * sec},
		"all of it for others":   {spent{10 * sec, 10 * sec, 0}, sec / 2},
	} {
		before := spent{all: 7 * sec, used: 3 * sec, own: sec}
		if c.after != (spent{}) {
			c.after = spent{c.after.all + before.all, c.after.used + before.used, c.after.own + before.own}
		} else {
			before = spent{}
		}
		if got := c.after.alone(before, 2*sec); (got - c.want).Abs() > time.Millisecond {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
