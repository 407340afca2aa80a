//go:build linux

package handover

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/service/ipc"
)

const profile = "default"

func quiet(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func within[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(time.Minute):
		t.Fatalf("waited for %s", what)
	}
	return v
}

// offered is a process that leaves, and how its Wait ended.
func offered(t *testing.T, run string) (*Offer, chan error) {
	t.Helper()
	o, err := NewOffer(run, profile, "1.0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	waited := make(chan error, 1)
	go func() { waited <- o.Wait(t.Context()) }()
	return o, waited
}

func TestNewProcessTakesThePlaceOfTheOldOne(t *testing.T) {
	run := t.TempDir()
	if _, err := Take(run, profile, "2.0", Protocol); !errors.Is(err, ErrNobody) {
		t.Fatalf("nobody leaves: %v", err)
	}
	o, waited := offered(t, run)
	if fi, err := os.Stat(Socket(run, profile)); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", fi, err)
	}
	took := make(chan error, 1)
	go func() {
		h, err := Take(run, profile, "2.0", Protocol)
		if h != nil {
			err = errors.New("it was given a tunnel that is none")
		}
		took <- err
	}()
	if err := within(t, "the new one", waited); err != nil {
		t.Fatal(err)
	}
	if err := o.Give(nil); err != nil {
		t.Fatal(err)
	}
	if err := within(t, "the tunnel", took); err != nil {
		t.Error(err)
	}
	o.Close()
	if _, err := Take(run, profile, "2.0", Protocol); !errors.Is(err, ErrNobody) {
		t.Errorf("after that: %v", err)
	}
}

func TestVersionsThatCannotGoOnBesideEachOtherSaySo(t *testing.T) {
	run := t.TempDir()
	_, waited := offered(t, run)
	_, err := Take(run, profile, "9.0", Protocol+1)
	var newer, older *IncompatibleError
	if !errors.As(err, &newer) {
		t.Fatalf("the new one: %v", err)
	}
	if err := within(t, "the old one", waited); !errors.As(err, &older) || older.Why != newer.Why {
		t.Errorf("the old one: %v; the new one: %v", err, newer)
	}
}

// A socket that a killed process left behind is in nobody's way.
func TestSocketOfAKilledProcessIsReplaced(t *testing.T) {
	run := t.TempDir()
	for _, path := range []string{Socket(run, profile), lingerSocket(run, profile)} {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		l.Close()
	}
	if _, err := Take(run, profile, "2.0", Protocol); err == nil {
		t.Error("the new one took something")
	}
	old := Attach(run, profile, func() {}, quiet(t))
	old.Store(nil)
	defer old.Detach()
	if left, _ := filepath.Glob(filepath.Join(run, "*.old-*")); len(left) > 0 || len(old.Sessions()) > 0 {
		t.Errorf("there are still %q", left)
	}
	offered(t, run) // in its place
}

// lingering is an old process with sessions.
type lingering struct {
	*Linger
	ran chan struct{}

	mu       sync.Mutex // guards the rest
	sessions []ipc.Session
	maps     []uint64
	enabled  bool
}

func linger(t *testing.T, run string, sessions ...string) *lingering {
	t.Helper()
	g := &lingering{ran: make(chan struct{})}
	for _, id := range sessions {
		g.sessions = append(g.sessions, ipc.Session{ID: id})
	}
	list := func() []ipc.Session {
		g.mu.Lock()
		defer g.mu.Unlock()
		return slices.Clone(g.sessions)
	}
	end := func(id string) bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		before := len(g.sessions)
		g.sessions = slices.DeleteFunc(g.sessions, func(s ipc.Session) bool { return s.ID == id })
		return len(g.sessions) < before
	}
	var err error
	g.Linger, err = NewLinger(run, profile, Sessions{
		// A map without rules lets nobody in.
		Apply: func(m *api.Map, enabled bool) (ended []string) {
			g.mu.Lock()
			g.maps, g.enabled = append(g.maps, m.Version), enabled
			g.mu.Unlock()
			for _, s := range list() {
				if len(m.Rules) == 0 && end(s.ID) {
					ended = append(ended, s.ID)
				}
			}
			return ended
		},
		List: list, End: end, Busy: func() bool { return len(list()) > 0 },
	}, quiet(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(g.ran)
		g.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-g.ran
		g.Close()
	})
	return g
}

// stored is what a new process has written down.
type stored struct {
	mu     sync.Mutex
	ids    []string
	refuse bool
	more   chan struct{}
}

func (s *stored) record(e audit.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse {
		return errors.New("the disk is full")
	}
	s.ids = append(s.ids, e.ID)
	s.more <- struct{}{}
	return nil
}

func attach(t *testing.T, run string) (*Old, *stored) {
	t.Helper()
	s := &stored{more: make(chan struct{}, 100)}
	o := attachWithin(run, profile, func() {}, quiet(t), time.Minute) // the two are one busy process here
	o.Store(s.record)
	t.Cleanup(o.Detach)
	return o, s
}

func (s *stored) all(t *testing.T, n int) []string {
	t.Helper()
	for range n {
		within(t, "an event", s.more)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.ids)
}

func TestOldProcessObeysTheNewOne(t *testing.T) {
	run := t.TempDir()
	g := linger(t, run, "s1", "s2", "s3")
	o, _ := attach(t, run)
	if n := len(o.Sessions()); n != 3 || !o.Serves("s2") || o.Serves("s4") {
		t.Fatalf("%d sessions", n)
	}
	if !o.End("s1") || o.End("s1") || o.End("s4") {
		t.Error("what was asked to end and what did differ")
	}
	if ended := o.Apply(&api.Map{Version: 7, Rules: []api.Rule{{}}}, true); len(ended) != 0 {
		t.Errorf("a map that lets them in ended %q", ended)
	}
	ended := o.Apply(&api.Map{Version: 8}, false)
	slices.Sort(ended)
	if !slices.Equal(ended, []string{"s2", "s3"}) {
		t.Errorf("a map that lets nobody in ended %q", ended)
	}
	if g.mu.Lock(); !slices.Equal(g.maps, []uint64{7, 8}) || g.enabled {
		t.Errorf("it heard of maps %v, enabled %v", g.maps, g.enabled)
	}
	g.mu.Unlock()
	within(t, "the end of a process that serves nobody", g.ran)
}

func TestStopEndsOldProcesses(t *testing.T) {
	run := t.TempDir()
	g := linger(t, run, "s1")
	go func() { // what the service does: it ends what there is, and closes
		<-g.ran
		g.Close()
	}()
	o, _ := attach(t, run)
	o.Stop()
	select {
	case <-g.ran:
	default:
		t.Error("it still runs")
	}
}

// Whatever becomes of the processes that take them: each event is stored once, in order, and what was not stored is sent
// again.
func TestEventsWaitForAProcessThatStoresThem(t *testing.T) {
	run := t.TempDir()
	g := linger(t, run, "s1")
	record := func(id string) {
		t.Helper()
		if err := g.Record(audit.Event{ID: id, Session: "ended"}); err != nil {
			t.Fatal(err)
		}
	}
	record("1")
	record("2")
	first, got := attach(t, run)
	if ids := got.all(t, 2); !slices.Equal(ids, []string{"1", "2"}) {
		t.Errorf("%q", ids)
	}
	record("3")
	if ids := got.all(t, 1); !slices.Equal(ids, []string{"1", "2", "3"}) {
		t.Errorf("%q", ids)
	}
	for end := time.Now().Add(time.Minute); g.unstored(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("what is stored is still owed")
		}
	}
	got.mu.Lock()
	got.refuse = true
	got.mu.Unlock()
	record("4")
	first.Detach()
	record("5")
	second, got := attach(t, run)
	if !second.Serves("ended") {
		t.Error("a session whose events are to come counts as unknown")
	}
	if ids := got.all(t, 2); !slices.Equal(ids, []string{"4", "5"}) {
		t.Errorf("the second process got %q", ids)
	}
}

func TestEventsThatNobodyTakesAreRefusedAtLast(t *testing.T) {
	g := linger(t, t.TempDir(), "s1")
	for range maxEvents {
		if err := g.Record(audit.Event{ID: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	if g.Record(audit.Event{ID: "x"}) == nil {
		t.Error("it takes events without end")
	}
	g.Linger.mu.Lock()
	g.queue = nil // so that Close need not wait for somebody to take them
	g.Linger.mu.Unlock()
}
