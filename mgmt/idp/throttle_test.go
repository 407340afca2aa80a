package idp

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"
)

// watch is a clock that stands until it is moved.
type watch struct{ at time.Time }

func (w *watch) now() time.Time { return w.at }

func newThrottle() (*throttle, *watch) {
	w := &watch{time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)}
	return &throttle{now: w.now}, w
}

var (
	here  = netip.MustParseAddr("192.0.2.1")
	there = netip.MustParseAddr("198.51.100.1")
)

// let counts the attempts of n that were let through at once.
func let(t *throttle, a attempt, n int) (through int) {
	for range n {
		if t.begin(a) == 0 {
			through++
		}
	}
	return through
}

func TestWaitDoublesAndIsBounded(t *testing.T) {
	th, w := newThrottle()
	a := attempt{account: "ann", asker: "p1/ann", from: here, known: true}
	if got := let(th, a, 20); got != freeForPair {
		t.Errorf("%d guesses at once, want %d", got, freeForPair)
	}
	for i, seconds := range []int{1, 2, 4, 8, 16, 30, 30} {
		wait := th.begin(a)
		if want := time.Duration(seconds) * time.Second; wait != want {
			t.Errorf("wait %d is %v, want %v", i, wait, want)
		}
		w.at = w.at.Add(wait - time.Millisecond)
		if th.begin(a) == 0 {
			t.Errorf("wait %d was not waited for", i)
		}
		w.at = w.at.Add(time.Millisecond)
		if got := th.begin(a); got != 0 {
			t.Errorf("after wait %d: %v more", i, got)
		}
	}
	w.at = w.at.Add(forgetAfter + time.Second)
	if got := let(th, a, 20); got != freeForPair {
		t.Errorf("an hour later: %d at once", got)
	}
}

func TestRightPasswordClearsItsPlaceOnly(t *testing.T) {
	th, _ := newThrottle()
	ann := attempt{account: "ann", asker: "p1/ann", from: here}
	foe := attempt{account: "ann", asker: "p2/foe", from: there}
	let(th, ann, 4)
	let(th, foe, 10)
	if th.begin(ann) != 0 {
		t.Fatal("her fifth attempt waits")
	}
	th.succeeded(ann)
	if got := let(th, ann, 10); got != freeForPair {
		t.Errorf("afterwards %d at once", got)
	}
	if th.begin(foe) == 0 {
		t.Error("her success let the other place guess on")
	}
}

func TestStrangersSlowEachOtherAndNotAKnownPlace(t *testing.T) {
	th, _ := newThrottle()
	through := 0
	for i := range 100 { // a hundred machines, each from its own address
		through += let(th, attempt{account: "ann", asker: fmt.Sprintf("p%d/x", i), from: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})}, 5)
	}
	if through != freeForAccount {
		t.Errorf("%d guesses of strangers at one account, want %d", through, freeForAccount)
	}
	if wait := th.begin(attempt{account: "ann", asker: "p0/ann", known: true, from: here}); wait != 0 {
		t.Errorf("she waits for %v", wait)
	}
	if wait := th.begin(attempt{account: "bob", asker: "p200/bob", from: there}); wait != 0 {
		t.Errorf("somebody else waits for %v", wait)
	}
}

func TestOnePlaceCannotTryManyAccounts(t *testing.T) {
	for name, asker := range map[string]string{"an enrolled machine": "p1/foe", "one that is not": ""} {
		th, _ := newThrottle()
		through := 0
		for i := range 100 {
			through += let(th, attempt{account: fmt.Sprintf("user%d", i), asker: asker, from: there}, 1)
		}
		if through != freeForPlace {
			t.Errorf("%s: %d", name, through)
		}
	}
	// The account on the machine is the place, whatever address its requests come from.
	th, _ := newThrottle()
	through := 0
	for i := range 100 {
		through += let(th, attempt{account: fmt.Sprintf("user%d", i), asker: "p1/foe", from: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})}, 1)
	}
	if through != freeForPlace {
		t.Errorf("from many addresses: %d", through)
	}
}

func TestAddressesOfOneSubscriberCountAsOne(t *testing.T) {
	a, b := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::ffff:1")
	if SourceKey(a) != SourceKey(b) || SourceKey(a) == SourceKey(netip.MustParseAddr("2001:db8:0:1::1")) || SourceKey(here) == SourceKey(there) {
		t.Errorf("%s %s", SourceKey(a), SourceKey(b))
	}
}

// What somebody types as an account's name is counted, never kept.
func TestLongNamesFillNoMemory(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	th, _ := newThrottle()
	before := heap()
	for i := range 500 {
		th.begin(attempt{account: strings.Repeat("x", maxForm) + fmt.Sprint(i), asker: "p", known: true, from: here})
	}
	if grown := int64(heap()) - int64(before); grown > 8<<20 || len(th.tries) != 500 {
		t.Errorf("%d names take %d MB", len(th.tries), grown>>20)
	}
}

func TestThrottleForgetsRatherThanFills(t *testing.T) {
	th, w := newThrottle()
	for i := range 3 * maxTracked {
		th.begin(attempt{account: fmt.Sprint(i), asker: "p", known: true, from: here})
		if i%1000 == 0 {
			w.at = w.at.Add(time.Second)
		}
	}
	if n := len(th.tries); n > 2*maxTracked {
		t.Errorf("%d entries", n)
	}
}
