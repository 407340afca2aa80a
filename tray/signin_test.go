package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/client"
	"lanyard/mgmt/api/reason"
	"lanyard/platform/clipboard"
	"lanyard/platform/notify"
	"lanyard/platform/terminal"
	"lanyard/service/ipc"
	"lanyard/service/keystore"
	"lanyard/service/login"
	"lanyard/tray/menu"
)

// until polls cond until it returns nil, and fails with its last error.
func until(t *testing.T, limit time.Duration, cond func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := cond()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// fakeClock moves when the test says so. Whoever waits is woken by each move.
type fakeClock struct {
	mu    sync.Mutex
	at    time.Time
	waits []chan time.Time
	n     int // waits begun
}

func newClock() *fakeClock {
	return &fakeClock{at: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)}
}

func (c *fakeClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *fakeClock) after(time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan time.Time, 1)
	c.waits = append(c.waits, ch)
	c.n++
	return ch
}

// begun counts the waits so far.
func (c *fakeClock) begun() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// move sets the clock on and ends the waits.
func (c *fakeClock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
	for _, ch := range c.waits {
		ch <- c.at
	}
	c.waits = nil
}

// stage is a tray whose desktop, service, provider and clock are the test's.
type stage struct {
	*tray
	t     *testing.T
	clock *fakeClock
	self  string // id of the machine

	mu        sync.Mutex // guards what follows
	me        signIn
	refreshes int
	refused   error // what a refresh answers
	checks    int
	barred    error // what a check answers
	logins    int

	loginErr error
	shown    menu.Menu
	notes    []notify.Note
	pressed  func(string)
}

func newStage(t *testing.T) *stage {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("LANYARD_STATE_DIR", t.TempDir())
	t.Setenv("LANYARD_RUN_DIR", t.TempDir())
	s := &stage{t: t, clock: newClock(), self: "pself"}
	s.tray = newTray(t.Context(), "default", openSettings("default"))
	s.tray.clock = clock{now: s.clock.now, after: s.clock.after}
	s.tray.desk = desk{
		draw: func(m menu.Menu) { s.mu.Lock(); s.shown = m; s.mu.Unlock() },
		note: func(n notify.Note, f func(string)) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.notes, s.pressed = append(s.notes, n), f
			return nil
		},
		browse: func(string) error { t.Error("a browser tab that nobody asked for"); return nil },
	}
	s.tray.person = func(string) person {
		return person{
			look: func(string) signIn { s.mu.Lock(); defer s.mu.Unlock(); return s.me },
			refresh: func(context.Context, string) error {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.refreshes++
				if s.refused == nil {
					s.fresh(s.clock.now())
				}
				return s.refused
			},
			check: func(_ context.Context, peer, server string) error {
				s.mu.Lock()
				defer s.mu.Unlock()
				if s.checks++; peer != s.self || server != "https://mgmt.example" {
					t.Errorf("a check of %s at %s", peer, server)
				}
				var refused *api.Error
				if errors.As(s.barred, &refused) && refused.Code != string(reason.Blocked) {
					s.me = signIn{}
				}
				return s.barred
			},
			login: func(ctx context.Context, _ string, asked func(login.Asked)) (*login.Result, error) {
				s.mu.Lock()
				s.logins++
				err := s.loginErr
				s.mu.Unlock()
				asked(login.Asked{Code: "ABCD", URL: "https://page", Opened: true})
				if err != nil {
					return nil, err
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				s.me = signIn{who: "ann", fresh: login.Freshness{Ends: s.clock.now().Add(24 * time.Hour)}}
				s.fresh(s.clock.now())
				return &login.Result{Me: &api.Me{Machines: []api.Reach{{Peer: "pweb"}}}}, nil
			},
			files: func() string { return t.TempDir() },
		}
	}
	return s
}

// fresh gives the sign-in a token of now that lives an hour.
func (s *stage) fresh(now time.Time) {
	s.me.fresh.Issued, s.me.fresh.RefreshAfter = now, now.Add(30*time.Minute)
}

// play starts the tray: signed in at nine for a day, on a machine that is up.
func (s *stage) play() {
	s.mu.Lock()
	if s.me.who == "" {
		s.me = signIn{who: "ann", fresh: login.Freshness{Ends: s.clock.now().Add(24 * time.Hour)}}
		s.fresh(s.clock.now())
	}
	s.mu.Unlock()
	go s.run()
	s.t.Cleanup(func() { s.cancel(); <-s.done })
	s.do(func() {
		s.unfollow() // no service is here; what it would say comes from the test
		s.status = &ipc.Status{
			State: ipc.StateConnected, Server: "https://mgmt.example", Self: &ipc.Peer{ID: s.self, Name: "laptop"},
			Peers: []ipc.Peer{{ID: "pweb", Name: "web-1", ShortName: true, ServesSSH: true}},
		}
		s.absent = ""
	})
}

// pass lets time go by in steps, as the tray's own look at the clock does.
func (s *stage) pass(d time.Duration) {
	for ; d > 0; d -= look {
		s.clock.move(look)
		s.settle()
	}
}

// sleeps is a machine that slept: the clock is somewhere else when the wait ends.
func (s *stage) sleeps(d time.Duration) {
	s.clock.move(d)
	s.settle()
}

// settle waits until the tray has done what there is and waits for time again.
func (s *stage) settle() {
	for quiet := 0; quiet < 2; { // what the first look finds done may have begun something
		var waits int
		var busy bool
		seen := make(chan struct{})
		s.do(func() {
			waits, busy = s.clock.begun(), s.keeping
			close(seen)
		})
		<-seen
		for s.clock.begun() == waits {
			time.Sleep(100 * time.Microsecond)
		}
		if quiet++; busy {
			quiet = 0
		}
	}
}

func (s *stage) row(title string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.shown.Rows {
		if r.Title == title && !r.Hidden {
			return true
		}
	}
	return false
}

// sees waits for an icon and a row.
func (s *stage) sees(icon menu.Icon, title string) {
	s.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		s.mu.Lock()
		got := s.shown.Icon
		s.mu.Unlock()
		if got == icon && s.row(title) {
			return
		}
		if time.Now().After(deadline) {
			s.mu.Lock()
			defer s.mu.Unlock()
			var all []string
			for _, r := range s.shown.Rows {
				if !r.Hidden {
					all = append(all, r.Title)
				}
			}
			s.t.Fatalf("the tray shows %s and\n%s\n-- want %s and %q", got, strings.Join(all, "\n"), icon, title)
		}
		time.Sleep(time.Millisecond)
	}
}

func (s *stage) told(title string) (n int, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.notes {
		if x.Title == title {
			n, body = n+1, x.Body
		}
	}
	return n, body
}

func (s *stage) count() (refreshes, logins int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refreshes, s.logins
}

func TestSignInIsKeptFreshAllDay(t *testing.T) {
	s := newStage(t)
	s.play()
	s.settle()
	for h := range 23 {
		s.pass(time.Hour)
		s.mu.Lock()
		age := s.clock.now().Sub(s.me.fresh.Issued)
		s.mu.Unlock()
		if age > 31*time.Minute {
			t.Fatalf("after %d hours the token is %s old", h+1, age)
		}
	}
	s.sees(menu.Connected, "Signed in as ann, 1 h left")
	if n, _ := s.count(); n < 40 || n > 50 {
		t.Errorf("%d refreshes in 23 hours, want one each half hour", n)
	}
	if len(s.notes) != 0 {
		t.Errorf("notifications without need: %+v", s.notes)
	}
}

func TestEndOfTheDayIsAnnouncedOnceWithAButton(t *testing.T) {
	s := newStage(t)
	s.play()
	s.settle()
	s.sleeps(23*time.Hour + 31*time.Minute)
	s.pass(3 * time.Minute)
	s.sees(menu.Attention, "Connected as laptop, and your sign-in ends soon")
	if n, body := s.told("Your sign-in ends soon"); n != 1 || !strings.HasPrefix(body, "It ends at ") {
		t.Errorf("told %d times: %q", n, body)
	}
	s.mu.Lock()
	note, press := s.notes[len(s.notes)-1], s.pressed
	s.mu.Unlock()
	if len(note.Buttons) != 1 || note.Buttons[0].Label != "Renew" {
		t.Fatalf("%+v", note)
	}
	if _, logins := s.count(); logins != 0 {
		t.Fatal("a login began without a click")
	}
	press(note.Buttons[0].Key)
	s.sees(menu.Connected, "Signed in as ann, 24 h left")
	if n, body := s.told("You are signed in"); n != 1 || body != "You are ann. Next, in a terminal: ssh web-1" {
		t.Errorf("told %d times: %q", n, body)
	}
	if n, body := s.told("Sign in in your browser"); n != 1 || !strings.Contains(body, "ABCD") {
		t.Errorf("told %d times: %q", n, body)
	}
}

func TestLoginThatEndedIsToldOnceAndOpensNothing(t *testing.T) {
	s := newStage(t)
	s.play()
	s.settle()
	s.sleeps(25 * time.Hour)
	s.pass(2 * time.Minute)
	s.sees(menu.SignedOut, "The sign-in of ann has ended")
	if n, body := s.told("Your sign-in has ended"); n != 1 || body != "Log in to go on using your machines." {
		t.Errorf("told %d times: %q", n, body)
	}
	if refreshes, logins := s.count(); refreshes != 0 || logins != 0 {
		t.Errorf("%d refreshes, %d logins", refreshes, logins)
	}
}

// reaches is a word of the service's: which machines are in reach.
func (s *stage) reaches(ids ...string) {
	s.do(func() {
		now := *s.status
		now.Peers = nil
		for _, id := range ids {
			now.Peers = append(now.Peers, ipc.Peer{ID: id, Name: id, ServesSSH: true})
		}
		s.heard(&now)
	})
	s.settle()
}

// Somebody who is let in no more hears of it when their machines go, and that they are let in again when these come back.
func TestBlockedPersonIsToldWhenTheMachinesGo(t *testing.T) {
	s := newStage(t)
	s.play()
	s.reaches("pweb", "pdb")
	if s.checks != 0 {
		t.Error("the management server was asked although a machine came")
	}
	s.reaches("pweb")
	s.sees(menu.Connected, "Signed in as ann, 24 h left")
	if s.checks != 1 {
		t.Errorf("%d checks", s.checks)
	}
	const said = "Your access was blocked; ask your administrator."
	s.barred = &api.Error{Status: 403, Code: string(reason.Blocked), Message: said}
	s.reaches()
	s.sees(menu.Attention, said)
	s.pass(10 * time.Minute)
	if n, body := s.told("You are not let in any more"); n != 1 || body != said || s.checks != 2 {
		t.Errorf("told %d times: %q, after %d checks", n, body, s.checks)
	}
	s.reaches("pweb")
	s.sees(menu.Attention, said)
	if n, _ := s.told("You are not let in any more"); n != 1 {
		t.Errorf("told %d times", n)
	}
	s.barred = nil
	s.reaches("pweb", "pdb")
	s.sees(menu.Connected, "Signed in as ann, 23 h left")
}

// A sign-in that was ended elsewhere is gone here when the machines go, and is offered again.
func TestSignInThatEndedElsewhereIsOfferedAgain(t *testing.T) {
	s := newStage(t)
	s.play()
	s.barred = &api.Error{Status: 401, Code: string(reason.Revoked), Message: reason.Revoked.Sentence()}
	s.reaches()
	s.sees(menu.Attention, "Nobody is signed in")
	n, body := s.told("You are not let in any more")
	if n != 1 || body != "This sign-in was ended; click Log in." {
		t.Errorf("told %d times: %q", n, body)
	}
	s.barred = nil
	s.pressed(string(menu.LogIn))
	s.sees(menu.Connected, "Signed in as ann, 24 h left")
	if _, logins := s.count(); logins != 1 {
		t.Errorf("%d logins", logins)
	}
}

// A laptop that slept ten hours comes back to a token that is too old and a login that is good: it is refreshed at
// once, although the network takes a moment.
func TestLaptopThatSleptTenHoursIsFreshAtOnce(t *testing.T) {
	s := newStage(t)
	s.play()
	s.settle()
	s.mu.Lock()
	s.refused = fmt.Errorf("%w: no such host", login.ErrUnreachable)
	s.mu.Unlock()
	s.pass(40 * time.Minute) // failures lengthen the pause
	s.sees(menu.Attention, "Your sign-in could not be refreshed (no such host). It is tried again.")
	before, _ := s.count()
	s.sleeps(10 * time.Hour)
	after, _ := s.count()
	if after != before+1 {
		t.Errorf("%d tries on waking, want 1", after-before)
	}
	s.mu.Lock()
	s.refused = nil
	s.mu.Unlock()
	s.pass(time.Minute)
	s.sees(menu.Connected, "Signed in as ann, 13 h left")
	if len(s.notes) != 0 {
		t.Errorf("%+v", s.notes)
	}
}

func TestNetworkThatComesBackIsUsedAtOnce(t *testing.T) {
	s := newStage(t)
	s.play()
	s.settle()
	s.mu.Lock()
	s.refused = login.ErrUnreachable
	s.mu.Unlock()
	s.pass(time.Hour)
	before, _ := s.count()
	status := func(st ipc.State) *ipc.Status {
		return &ipc.Status{State: st, Self: &ipc.Peer{ID: "pself", Name: "laptop"}}
	}
	s.do(func() { s.heard(status(ipc.StateOffline)) })
	s.settle()
	s.mu.Lock()
	s.refused = nil
	s.mu.Unlock()
	s.do(func() { s.heard(status(ipc.StateConnected)) })
	s.settle()
	if after, _ := s.count(); after != before+1 {
		t.Errorf("%d tries, want 1", after-before)
	}
	s.sees(menu.Connected, "Connected as laptop")
}

// says is a refusal of the management server's.
func says(status int, code reason.Code) error {
	return &api.Error{Status: status, Code: string(code), Message: code.Sentence()}
}

// What can be wrong with a refresh, and what the person reads. None opens a browser.
func TestWhatAPersonReadsWhenASignInCannotBeKept(t *testing.T) {
	for _, c := range []struct {
		name  string
		err   error
		reads string
		note  bool
		tries int // in the half hour after the token is half way
	}{
		{
			"the provider is down", fmt.Errorf("%w: connection refused", login.ErrUnreachable),
			"Your sign-in could not be refreshed (connection refused). It is tried again.", false, 10,
		},
		{
			"the provider refuses", login.ErrLoginNeeded, "Your sign-in cannot be kept any longer. Log in again.", true, 1,
		},
		{
			"an administrator ended it", fmt.Errorf("%w (%s)", login.ErrLoginNeeded, reason.Revoked.Sentence()),
			"Your sign-in cannot be kept any longer (This sign-in was ended). Log in again.", true, 1,
		},
		{
			"the keychain is locked", fmt.Errorf("%w (%w)", login.ErrLoginNeeded, keystore.ErrLocked),
			"Your keychain is locked, so your sign-in cannot be kept fresh. Unlock it, or renew the sign-in.", true, 1,
		},
		{
			"the person is blocked", says(http.StatusForbidden, reason.Blocked),
			"Your access was blocked; ask your administrator.", false, 3,
		},
		{
			"the clock is five minutes off", says(http.StatusUnauthorized, reason.ClockSkew),
			"The clocks of the machines or of the identity provider differ too much; set them and try again.", false, 3,
		},
		{
			"the management server is away", fmt.Errorf("ask: %w", client.ErrUnreachable),
			"The management server does not answer; check the network.", false, 3,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.play()
			s.settle()
			s.mu.Lock()
			s.refused = c.err
			s.mu.Unlock()
			s.pass(59 * time.Minute)
			s.sees(menu.Attention, c.reads)
			n, logins := s.count()
			if n < 1 || n > c.tries {
				t.Errorf("%d tries in half an hour, want at most %d", n, c.tries)
			}
			if logins != 0 {
				t.Error("a login began without a click")
			}
			if told, body := s.told("Your sign-in needs you"); (told > 0) != c.note || told > 1 || c.note && body != c.reads {
				t.Errorf("told %d times: %q", told, body)
			}
			if !s.row("Renew the sign-in") {
				t.Error("nothing to click")
			}
		})
	}
}

// How a login that a person began can end, and what they read.
func TestWhatAPersonReadsWhenALoginFails(t *testing.T) {
	for _, c := range []struct{ err, reads string }{
		{"nobody signed in within 5 minutes; run 'lanyard login' to try again", "Nobody signed in within 5 minutes; click Log in to try again."},
		{"the sign-in was refused or cancelled in the browser; run 'lanyard login' to try again", "The sign-in was refused or cancelled in the browser; click Log in to try again."},
	} {
		s := newStage(t)
		s.me = signIn{who: "x", fresh: login.Freshness{Ends: s.clock.now().Add(-time.Hour)}}
		s.loginErr = errors.New(c.err)
		s.play()
		s.click(menu.Action{Verb: menu.LogIn})
		s.sees(menu.Attention, c.reads)
		if n, body := s.told("You are not signed in"); n != 1 || body != c.reads {
			t.Errorf("told %d times: %q", n, body)
		}
		if !s.row("Log in") {
			t.Error("nothing to click")
		}
	}
}

func TestLoginCanBeCancelledAndIsOneAtATime(t *testing.T) {
	s := newStage(t)
	s.me = signIn{who: "x", fresh: login.Freshness{Ends: s.clock.now().Add(-time.Hour)}}
	begun := make(chan struct{}, 10)
	ordinary := s.tray.person
	s.tray.person = func(p string) person {
		me := ordinary(p)
		me.login = func(ctx context.Context, _ string, asked func(login.Asked)) (*login.Result, error) {
			begun <- struct{}{}
			asked(login.Asked{Code: "WXYZ", URL: "https://page"})
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}
		return me
	}
	s.play()
	for range 3 {
		s.click(menu.Action{Verb: menu.LogIn})
	}
	s.sees(menu.Connecting, "Cancel the sign-in (the page must show WXYZ)")
	if n, body := s.told("No browser could be opened"); n != 1 || !strings.Contains(body, "WXYZ") {
		t.Errorf("told %d times: %q", n, body)
	}
	s.click(menu.Action{Verb: menu.CancelLogin})
	s.sees(menu.SignedOut, "Log in")
	if len(begun) != 1 {
		t.Errorf("%d logins began", len(begun))
	}
	if n, _ := s.told("You are not signed in"); n != 0 {
		t.Error("a cancelled login was called a failure")
	}
}

func TestAnotherPersonThanBeforeIsPointedOut(t *testing.T) {
	s := newStage(t)
	s.me = signIn{who: "bob", fresh: login.Freshness{Ends: s.clock.now().Add(time.Hour), Issued: s.clock.now(), RefreshAfter: s.clock.now().Add(time.Hour)}}
	s.play()
	s.click(menu.Action{Verb: menu.LogIn})
	s.sees(menu.Connected, "Signed in as ann, 24 h left")
	if n, body := s.told("You are signed in as somebody else"); n != 1 || !strings.HasPrefix(body, "You are ann now; before you were bob.") {
		t.Errorf("told %d times: %q", n, body)
	}
}

// After a log out the browser may remember the provider's sign-in: the page that ends it is one click away, and no tab
// opens without it.
func TestLogOutOffersTheProvidersOwn(t *testing.T) {
	const page = "https://id.example/bye?client_id=lanyard"
	for name, c := range map[string]struct {
		page string
		err  error
		says string
	}{
		"a page": {page: page, says: "Your sessions were ended."}, "none": {says: "Your sessions were ended."},
		"a page, and no word to the provider": {page: page, err: login.ErrProviderNotTold, says: "the identity provider could not be told"},
	} {
		t.Run(name, func(t *testing.T) {
			page := c.page
			s := newStage(t)
			opened := make(chan string, 1)
			s.tray.desk.browse = func(at string) error { opened <- at; return nil }
			told, press := make(chan notify.Note, 4), func(string) {}
			s.tray.desk.note = func(n notify.Note, f func(string)) error {
				press = f
				told <- n
				return nil
			}
			with := s.tray.person
			s.tray.person = func(profile string) person {
				p := with(profile)
				p.logout = func(context.Context, string, string) (string, error) { return page, c.err }
				return p
			}
			s.play()
			s.do(s.logOut)
			var said notify.Note
			select {
			case said = <-told:
			case <-time.After(time.Minute):
				t.Fatal("nothing is said of it")
			}
			if !strings.Contains(said.Title+" "+said.Body, c.says) || strings.Contains(said.Body, "Your browser") != (page != "") || (len(said.Buttons) == 1) != (page != "") {
				t.Fatalf("%+v", said)
			}
			if page == "" {
				return
			}
			select {
			case at := <-opened:
				t.Fatalf("%s was opened without a click", at)
			default:
			}
			press(string(menu.SignOutPage))
			select {
			case at := <-opened:
				if at != page {
					t.Errorf("opened %s", at)
				}
			case <-time.After(time.Minute):
				t.Error("the button opens nothing")
			}
		})
	}
}

// Where notifications are switched off, what a click could not do is said by the icon and in the menu, until the next
// click or for a while.
func TestClickThatFailsIsNeverSilent(t *testing.T) {
	for name, notes := range map[string]bool{"notifications": true, "none": false} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			if err := s.settings.change(func(c *choices) { c.Notify = notes }); err != nil {
				t.Fatal(err)
			}
			s.tray.desk.terminal = func([]string) error { return terminal.ErrNone }
			s.tray.desk.copy = func(string) error { return clipboard.ErrNone }
			s.play()
			s.settle()
			s.click(menu.Action{Verb: menu.OpenTerminal, Arg: "web-1"})
			why := sentence(terminal.ErrNone)
			s.sees(menu.Attention, "Connected as laptop, and something did not work")
			s.sees(menu.Attention, why)
			if n, body := s.told("That did not work"); (n == 1 && body == why) != notes {
				t.Errorf("told %d times: %q", n, body)
			}
			s.pass(replyStays + time.Minute)
			s.sees(menu.Connected, "Connected as laptop")
			if s.row(why) {
				t.Error("it is said for ever")
			}
			s.click(menu.Action{Verb: menu.OpenTerminal, Arg: "web-1"})
			s.sees(menu.Attention, why)
			s.click(menu.Action{Verb: menu.Copy, Arg: "ssh web-1"})
			s.sees(menu.Connected, "Connected as laptop")
			if !notes {
				s.sees(menu.Connected, "There is no clipboard here. ssh web-1")
			}
		})
	}
}

// A program that hangs over the clipboard does not keep the tray from anything else.
func TestHungClipboardKeepsNothingElse(t *testing.T) {
	s := newStage(t)
	hung := make(chan struct{})
	s.tray.desk.copy = func(string) error { <-hung; return errors.New("the clipboard did not answer") }
	s.play()
	s.settle()
	s.click(menu.Action{Verb: menu.Copy, Arg: "ssh web-1"})
	s.click(menu.Action{Verb: menu.SetNotify})
	until(t, time.Minute, func() error {
		if s.settings.get().Notify {
			return errors.New("a click after it does nothing")
		}
		return nil
	})
	close(hung)
	s.sees(menu.Attention, "The clipboard did not answer.")
}

// noIcons is a desktop that shows none.
type noIcons struct{}

func (noIcons) noPanel() bool { return true }

func TestMissingIconIsToldUntilItWasShown(t *testing.T) {
	s := newStage(t)
	tried := make(chan struct{}, 10)
	s.tray.desk.note = func(notify.Note, func(string)) error { tried <- struct{}{}; return notify.ErrNone }
	s.tray.session = noIcons{}
	s.play()
	<-tried
	s.settle()
	if openSettings("default").get().ToldNoPanel {
		t.Error("what could not be shown counts as told")
	}
}
