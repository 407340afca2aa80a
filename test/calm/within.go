package calm

import "time"

// tries is how many may take too long, and atMost how many are made where the machine stands still in between.
const tries, atMost = 3, 10

// failing is the part of testing.TB that Within needs.
type failing interface {
	Helper()
	Failed() bool
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
}

// Within wants do, which says how long it took, to need no longer than most. What else a machine does only adds to that: the
// share of the processors that went to other programs meanwhile does not count, and what took longer all the same is done
// again. Three times are enough, but for those of which the machine stood still for a tenth of most.
func Within(t failing, most time.Duration, do func() time.Duration) {
	t.Helper()
	for try, late := 1, 0; late < tries; try++ {
		began, clock, before := time.Now(), Start(), spending()
		took := do()
		after := spending()
		still := time.Since(began) - clock.Stop()
		if t.Failed() || after.alone(before, took) <= most {
			return
		}
		t.Logf("it took %s, or %s of a machine of its own, which stood still for %s meanwhile", took, after.alone(before, took), still)
		if still < most/10 || try > atMost-tries {
			late++
		}
	}
	t.Errorf("again and again it took longer than %s", most)
}

// spent is processor time since some moment of the past: what the machine has, what it was used for, and what this program
// and the children that it has waited for used of that. All are 0 where the system does not tell.
type spent struct{ all, used, own time.Duration }

// alone is how long what took so long since before would have taken without other programs. They excuse three quarters at
// most.
func (s spent) alone(before spent, took time.Duration) time.Duration {
	all, others := s.all-before.all, (s.used-before.used)-(s.own-before.own)
	if all <= 0 || others <= 0 {
		return took
	}
	return took - time.Duration(float64(took)*min(float64(others)/float64(all), 0.75))
}
