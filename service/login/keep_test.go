package login

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
)

// kept is a login that Keep looks after, with a clock that the test sets.
type kept struct {
	Config
	stub  *stub
	t     *testing.T
	ended chan error

	clock sync.Mutex // guards ahead
	ahead time.Duration
}

// keep signs in and keeps the login for machines that want a token of four seconds at most.
func keep(t *testing.T) (k *kept, stop func()) {
	k = &kept{stub: newStub(t), t: t, ended: make(chan error, 1)}
	k.Config = k.stub.config(t)
	began := time.Now()
	k.Now = func() time.Time {
		k.clock.Lock()
		defer k.clock.Unlock()
		return began.Add(k.ahead)
	}
	if _, err := k.Login(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go func() { k.ended <- k.Keep(ctx, peerID, k.ages) }()
	return k, cancel
}

func (k *kept) ages(context.Context) time.Duration { return 4 * time.Second }

func (k *kept) later(d time.Duration) {
	k.clock.Lock()
	defer k.clock.Unlock()
	k.ahead += d
}

// until waits for something that the stub sees.
func (k *kept) until(what string, f func() bool) {
	k.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		k.stub.mu.Lock()
		ok := f()
		k.stub.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(end) {
			k.t.Fatalf("waited for %s: %d refreshes, seen %d times", what, k.stub.refreshes, k.stub.seen)
		}
	}
}

func (k *kept) end() error {
	k.t.Helper()
	select {
	case err := <-k.ended:
		return err
	case <-time.After(time.Minute):
		k.t.Fatal("it does not end")
		return nil
	}
}

func TestKeptLoginIsRefreshedAndReportedInTime(t *testing.T) {
	k, stop := keep(t)
	for n := 1; n <= 3; n++ { // nobody runs ssh; time passes
		k.later(3 * time.Second)
		k.until("a refresh", func() bool { return k.stub.refreshes >= n && k.stub.seen > n })
	}
	k.until("it to be kept", func() bool { return Fresh(k.Paths, peerID, 4*time.Second, k.now()) })
	stop()
	if err := k.end(); err != nil {
		t.Error(err)
	}
}

// Who keeps a login looks twice a second here; a refusal is waited out for longer.
func TestRefusedTokensAreNotAskedForAgainAtOnce(t *testing.T) {
	k, stop := keep(t)
	k.stub.mu.Lock()
	k.stub.refuse = &api.Error{Status: http.StatusUnauthorized, Code: string(reason.Signature), Message: "No."}
	k.stub.mu.Unlock()
	k.later(3 * time.Second)
	k.until("it to be refused", func() bool { return k.stub.refreshes == 2 })
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		k.until("no more of it", func() bool { return k.stub.refreshes == 2 })
	}
	stop()
	if err := k.end(); err != nil {
		t.Error(err)
	}
}

func TestOneProcessKeepsALogin(t *testing.T) {
	k, stop := keep(t)
	k.later(3 * time.Second)
	k.until("the first to be at work", func() bool { return k.stub.refreshes > 0 })
	second := make(chan error, 1)
	go func() { second <- k.Keep(t.Context(), peerID, k.ages) }()
	select {
	case err := <-second:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("the second keeps it too")
	}
	select {
	case err := <-k.ended:
		t.Errorf("the first ended: %v", err)
	default:
	}
	stop()
	if err := k.end(); err != nil {
		t.Error(err)
	}
}

func TestKeepingEndsWithTheLogin(t *testing.T) {
	t.Run("signed out", func(t *testing.T) {
		k, _ := keep(t)
		if err := Forget(k.Paths, k.Store, peerID); err != nil {
			t.Fatal(err)
		}
		if err := k.end(); err != nil {
			t.Error(err)
		}
	})
	t.Run("the day is over", func(t *testing.T) {
		k, _ := keep(t)
		k.later(48 * time.Hour)
		if err := k.end(); err != nil {
			t.Error(err)
		}
		if k.stub.refreshes != 0 {
			t.Error("it was refreshed all the same")
		}
	})
	t.Run("the provider refuses", func(t *testing.T) {
		k, _ := keep(t)
		k.stub.mu.Lock()
		k.stub.grantErr = "invalid_grant"
		k.stub.mu.Unlock()
		k.later(3 * time.Second)
		if err := k.end(); !errors.Is(err, ErrLoginNeeded) {
			t.Errorf("%v", err)
		}
	})
}

func TestSilentServerDoesNotEndKeeping(t *testing.T) {
	k, stop := keep(t)
	k.stub.mu.Lock()
	k.stub.down = true
	k.stub.mu.Unlock()
	k.later(3 * time.Second)
	_, _, name := k.Paths.Identity(peerID)
	k.until("the next attempt to be put off", func() bool {
		f, err := ReadFreshness(name)
		wait := f.RefreshAfter.Sub(k.now()) // of a token that is good it is half an hour
		return err == nil && wait > 0 && wait <= retryAfter
	})
	k.stub.mu.Lock()
	k.stub.down = false
	before := k.stub.refreshes
	k.stub.mu.Unlock()
	k.later(retryAfter + time.Second)
	k.until("a refresh after that", func() bool { return k.stub.refreshes > before })
	stop()
	if err := k.end(); err != nil {
		t.Error(err)
	}
}
