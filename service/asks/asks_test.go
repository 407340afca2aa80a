package asks

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
	"lanyard/service/ipc"
)

var (
	ann = ipc.Who{Account: ipc.Account{Name: "ann", ID: "1000"}}
	bob = ipc.Who{Account: ipc.Account{Name: "bob", ID: "1001"}}
)

// tray notes what it is asked.
type tray struct {
	mu  sync.Mutex
	all []ipc.Ask
}

func (t *tray) show(a ipc.Ask) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, a)
	return nil
}

func (t *tray) asked() []ipc.Ask {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all
}

// sit starts a tray of w's.
func sit(t *testing.T, b *Board, w ipc.Who) (shows *tray, quit func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	shows = &tray{}
	gone := make(chan struct{})
	go func() { defer close(gone); _ = b.Listen(ctx, w, shows.show) }()
	synctest.Wait()
	return shows, func() { cancel(); <-gone }
}

func refused(err error) bool {
	var e *api.Error
	return errors.As(err, &e) && e.Code == string(reason.NotLoggedIn)
}

// ask starts n programs of w's that wait.
func ask(t *testing.T, b *Board, w ipc.Who, n int) <-chan error {
	t.Helper()
	out := make(chan error, n)
	for range n {
		go func() { out <- b.Ask(t.Context(), w, "web-1") }()
	}
	synctest.Wait()
	return out
}

func TestWithoutATrayTheRefusalComesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(time.Now)
		_, quit := sit(t, b, bob) // somebody else's does not count
		defer quit()
		begin := time.Now()
		for _, w := range []ipc.Who{ann, {}} {
			if err := b.Ask(t.Context(), w, "web-1"); !refused(err) {
				t.Errorf("%+v: %v", w, err)
			}
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("after %s", took)
		}
	})
}

func TestManyProgramsMakeOneQuestionAndGoOnTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(time.Now)
		annsTray, quit := sit(t, b, ann)
		defer quit()
		bobsTray, quitBob := sit(t, b, bob)
		defer quitBob()
		out := ask(t, b, ann, 10)
		if len(annsTray.asked()) != 1 || annsTray.asked()[0].To != "web-1" || len(bobsTray.asked()) != 0 {
			t.Fatalf("asked %v and %v", annsTray.asked(), bobsTray.asked())
		}
		a := annsTray.asked()[0]
		for _, wrong := range []struct {
			who ipc.Who
			id  string
		}{{bob, a.ID}, {ann, "x"}} {
			if err := b.Answer(wrong.who, ipc.Answer{ID: wrong.id, How: ipc.ReplySignedIn}); err != nil {
				t.Error(err)
			}
		}
		late, quitLate := sit(t, b, ann) // a tray that starts later shows it too
		defer quitLate()
		if len(late.asked()) != 1 {
			t.Errorf("a late tray was asked %v", late.asked())
		}
		select {
		case err := <-out:
			t.Fatalf("somebody else's answer freed a program: %v", err)
		default:
		}
		_ = b.Answer(ann, ipc.Answer{ID: a.ID, How: ipc.ReplyBegun})
		time.Sleep(clickLimit + time.Minute) // the sign-in takes its time
		synctest.Wait()
		_ = b.Answer(ann, ipc.Answer{ID: a.ID, How: ipc.ReplySignedIn})
		for range 10 {
			if err := <-out; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestAQuestionEndsHoweverOftenASignInBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(time.Now)
		shows, quit := sit(t, b, ann)
		defer quit()
		begin := time.Now()
		out := ask(t, b, ann, 1)
		id := shows.asked()[0].ID
		for time.Since(begin) < time.Hour {
			_ = b.Answer(ann, ipc.Answer{ID: id, How: ipc.ReplyBegun})
			select {
			case err := <-out:
				if took := time.Since(begin); !refused(err) || took < wholeLimit || took > wholeLimit+time.Minute {
					t.Errorf("%v after %s", err, took)
				}
				return
			case <-time.After(time.Minute):
			}
		}
		t.Error("the program still waits after an hour")
	})
}

func TestALoopOfAHundredAsksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(time.Now)
		shows, quit := sit(t, b, ann)
		defer quit()
		begin := time.Now()
		for range 100 {
			if err := b.Ask(t.Context(), ann, "web-1"); !refused(err) {
				t.Fatal(err)
			}
		}
		if n := len(shows.asked()); n != 1 || time.Since(begin) != clickLimit {
			t.Errorf("asked %d times in %s", n, time.Since(begin))
		}
		// The pauses grow, and a day of a timer's ends with a handful.
		for time.Since(begin) < 24*time.Hour {
			_ = b.Ask(t.Context(), ann, "web-1")
			time.Sleep(time.Minute)
		}
		if n := len(shows.asked()); n < 5 || n > 10 {
			t.Errorf("asked %d times in a day", n)
		}
	})
}

func TestNotNowIsTakenForAWhileAndASignInEndsThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(time.Now)
		shows, quit := sit(t, b, ann)
		defer quit()
		out := ask(t, b, ann, 3)
		id := shows.asked()[0].ID
		_ = b.Answer(ann, ipc.Answer{ID: id, How: ipc.ReplyRefused})
		for range 3 {
			if err := <-out; !refused(err) {
				t.Error(err)
			}
		}
		if err := b.Ask(t.Context(), ann, "web-1"); !refused(err) || len(shows.asked()) != 1 {
			t.Errorf("%v, asked %d times", err, len(shows.asked()))
		}
		_ = b.Answer(ann, ipc.Answer{ID: id, How: ipc.ReplySignedIn}) // they signed in after all
		out = ask(t, b, ann, 1)
		if len(shows.asked()) != 2 {
			t.Errorf("asked %d times", len(shows.asked()))
		}
		_ = b.Answer(ann, ipc.Answer{ID: shows.asked()[1].ID, How: ipc.ReplySignedIn})
		<-out
	})
}

func TestProgramsThatGiveUpLeaveTheQuestionAndTheLastTrayEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(time.Now)
		shows, quit := sit(t, b, ann)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := b.Ask(ctx, ann, "web-1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		out := ask(t, b, ann, 1)
		if len(shows.asked()) != 1 {
			t.Errorf("asked %d times", len(shows.asked()))
		}
		quit()
		if err := <-out; !refused(err) {
			t.Error(err)
		}
		if len(b.people) != 0 {
			t.Errorf("%d people are remembered", len(b.people))
		}
	})
}

func TestOneAccountCannotFillTheServicesConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(time.Now)
		_, quit := sit(t, b, ann)
		defer quit()
		out := ask(t, b, ann, maxWaiting+1)
		if err := <-out; !errors.Is(err, errMany) {
			t.Error(err)
		}
		time.Sleep(2 * clickLimit)
		for range maxWaiting {
			<-out
		}
	})
}
