package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"lanyard/platform/notify"
	"lanyard/service/ipc"
	"lanyard/service/login"
	"lanyard/tray/menu"
)

// desk is the desktop as far as the tray uses it.
type desk struct {
	draw     func(menu.Menu)
	note     func(notify.Note, func(button string)) error // nil: there are no notifications
	browse   func(url string) error
	copy     func(text string) error
	terminal func(argv []string) error
	elevate  func(ctx context.Context, argv []string) error
	entry    func(on bool) error // start with the desktop
}

// clock is time, for tests to move.
type clock struct {
	now   func() time.Time
	after func(time.Duration) <-chan time.Time
}

// tray holds the state. Its fields belong to the goroutine of run; everybody else sends it work by do.
type tray struct {
	log      *slog.Logger
	desk     desk
	clock    clock
	settings *settingsFile
	session  interface{ noPanel() bool }
	person   func(profile string) person
	program  string // lanyard
	release  string
	replaced func() bool // another program lies where this one was; nil: nobody looks

	ctx    context.Context
	cancel context.CancelFunc
	work   chan func()
	done   chan struct{}
	wg     sync.WaitGroup

	profile  string
	profiles []string
	me       person
	unfollow func() // ends following profile's service and files
	status   *ipc.Status
	absent   string
	signIn   signIn
	trouble  string
	keeper   keeper
	busy     string
	asked    *login.Asked       // a login is open
	stop     context.CancelFunc // of that login
	logins   int                // begun, or left behind with their network: whose end it is
	keeping  bool               // a refresh is on its way
	visitors map[string]bool    // session ids seen; nil: none were looked at yet
	waiting  map[string]ipc.Ask // programs wait for a sign-in, by their network
	reply    reply              // to the last click
	upgraded bool               // the program was replaced: the next one takes this one's place
}

func newTray(ctx context.Context, profile string, settings *settingsFile) *tray {
	t := &tray{
		log: slog.Default(), settings: settings, profile: profile, work: make(chan func(), 64), done: make(chan struct{}), waiting: map[string]ipc.Ask{},
		clock: clock{now: time.Now, after: time.After},
	}
	t.ctx, t.cancel = context.WithCancel(ctx)
	return t
}

// look is how often the clock is looked at: what is due by it, and whether it jumped.
const look = 20 * time.Second

// jump is how far beyond a wait's time the clock may be. More is a sleep, or a clock that was set.
const jump = 10 * time.Second

// run is the tray until it quits.
func (t *tray) run() {
	defer close(t.done)
	t.enter(t.profile)
	t.wg.Go(t.noPanel)
	t.wg.Go(t.listen)
	for t.ctx.Err() == nil {
		t.keep()
		t.desk.draw(t.view())
		before := t.clock.now().Round(0) // without the monotonic clock, which stands still in a machine that sleeps
		select {
		case <-t.ctx.Done():
		case f := <-t.work:
			f()
			for more := true; more; { // changes come in bursts
				select {
				case f := <-t.work:
					f()
				default:
					more = false
				}
			}
		case <-t.clock.after(look):
			t.lookAgain()
		}
		// Whatever ended the wait: in a machine that wakes up, others are as quick as the timer.
		if d := t.clock.now().Round(0).Sub(before); d > look+jump || d < -jump {
			t.log.Info("the clock jumped; the machine slept, or it was set", "by", d)
			t.keeper.wake()
		}
	}
	t.unfollow()
	t.cancel()
	t.wg.Wait()
}

// do has f run by the tray's goroutine.
func (t *tray) do(f func()) {
	select {
	case t.work <- f:
	case <-t.ctx.Done():
	}
}

// view is the menu as things are.
func (t *tray) view() menu.Menu {
	c := t.settings.get()
	s := menu.State{
		Now: t.clock.now(), Status: t.status, Absent: t.absent, Start: asAdmin("lanyard service install"), Joining: asAdmin("lanyard up URL"), Busy: t.busy,
		SignIn:   menu.SignIn{Who: t.signIn.who, Ends: t.signIn.fresh.Ends, Trouble: t.trouble},
		Settings: menu.Settings{Start: c.Start, Notify: c.Notify, Visitors: c.Visitors},
		Profile:  t.profile, Profiles: t.profiles, Release: t.release,
	}
	if !t.reply.at.IsZero() && s.Now.Sub(t.reply.at).Abs() < replyStays {
		s.Reply, s.Failed = t.reply.text, t.reply.failed
	}
	if t.asked != nil {
		s.SignIn.Asking, s.SignIn.Code, s.SignIn.URL = true, t.asked.Code, t.asked.URL
	}
	return menu.Build(s)
}

// enter begins to follow a profile, in place of the one before.
func (t *tray) enter(profile string) {
	if t.unfollow != nil {
		t.unfollow()
	}
	ctx, cancel := context.WithCancel(t.ctx)
	t.unfollow = cancel
	t.profile, t.profiles, t.me = profile, profilesHere(profile), t.person(profile)
	t.status, t.absent, t.trouble, t.busy, t.keeper, t.visitors = nil, "", "", "", keeper{}, nil
	t.asked, t.stop, t.reply = nil, nil, reply{}
	t.logins++
	t.signIn = t.me.look("")
	live := func(f func()) {
		t.do(func() {
			if ctx.Err() == nil {
				f()
			}
		})
	}
	t.wg.Go(func() {
		follow(ctx, profile,
			func(s *ipc.Status) { live(func() { t.heard(s) }) },
			func(err error) { live(func() { t.lost(err) }) })
	})
	files := t.me.files
	t.wg.Go(func() { t.watch(ctx, profile, files(), live) })
}

// watch looks again at the sign-in when its files change: another program signed in or out.
func (t *tray) watch(ctx context.Context, profile, dir string, live func(func())) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		t.log.Warn("sign-ins of other programs are seen late", "err", err)
		return
	}
	defer w.Close()
	for w.Add(dir) != nil { // the folder comes with the first sign-in
		select {
		case <-ctx.Done():
			return
		case <-t.clock.after(look):
		}
		live(t.lookAgain)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-w.Errors:
			if !ok {
				return
			}
		case e, ok := <-w.Events:
			if !ok {
				return
			}
			if ours(e.Name, profile) {
				live(t.lookAgain)
			}
		}
	}
}

func (t *tray) peer() string {
	if t.status != nil && t.status.Self != nil {
		return t.status.Self.ID
	}
	return ""
}

// lookAgain reads the sign-in's files.
func (t *tray) lookAgain() {
	s := t.me.look(t.peer())
	if s != t.signIn {
		t.freed(s)
		if s.who == "" || !s.fresh.Issued.Equal(t.signIn.fresh.Issued) {
			t.trouble = "" // it was about another token
		}
		t.signIn = s
	}
}

// heard takes the service's status.
func (t *tray) heard(s *ipc.Status) {
	before := t.status
	t.status, t.absent = s, ""
	if s.Release != t.release && t.replaced != nil && t.replaced() && t.asked == nil { // an open sign-in goes first
		t.log.Info("the program was replaced", "release", s.Release)
		t.upgraded = true
		t.cancel()
		return
	}
	if before == nil || before.Self == nil {
		t.lookAgain()
	}
	if s.State == ipc.StateConnected && (before == nil || before.State != ipc.StateConnected) {
		t.keeper.wake() // the network is back
	}
	if before != nil {
		t.keeper.doubt = t.keeper.doubt || gone(before.Peers, s.Peers) || t.keeper.bars(t.signIn) && gone(s.Peers, before.Peers)
	}
	t.callers(s.Sessions)
}

// gone reports whether a machine of before is not in now.
func gone(before, now []ipc.Peer) bool {
	here := map[string]bool{}
	for _, p := range now {
		here[p.ID] = true
	}
	return slices.ContainsFunc(before, func(p ipc.Peer) bool { return !here[p.ID] })
}

func (t *tray) lost(err error) {
	t.status, t.absent = nil, whyAbsent(err)
}

// callers tells the person who came in since the last look.
func (t *tray) callers(all []ipc.Session) {
	first := t.visitors == nil
	seen := map[string]bool{}
	for _, x := range all {
		seen[x.ID] = true
		if first || t.visitors[x.ID] || !t.settings.get().Visitors {
			continue
		}
		id := x.ID
		t.tell(notify.Note{
			Title:   "Somebody signed in to this computer",
			Body:    fmt.Sprintf("%s came in as %s, from %s.", x.User, x.LocalUser, x.Source),
			Buttons: []notify.Button{{Key: string(menu.EndSession), Label: "End the session"}},
			Else:    "To end the session, click the badge, then On this computer.",
		}, map[string]menu.Action{string(menu.EndSession): {Verb: menu.EndSession, Arg: id}})
	}
	t.visitors = seen
}

// keep does what is due for the sign-in.
func (t *tray) keep() {
	if t.asked != nil || t.keeping {
		return
	}
	d := t.keeper.plan(t.clock.now(), t.signIn)
	switch {
	case d.ended:
		t.trouble = ""
		t.tell(notify.Note{
			Group: signInGroup(t.profile), Title: "Your sign-in has ended", Body: "Log in to go on using your machines.",
			Buttons: []notify.Button{{Key: string(menu.LogIn), Label: "Log in"}}, Else: "Click the badge, then Log in.",
		}, map[string]menu.Action{string(menu.LogIn): {Verb: menu.LogIn}})
	case d.warn:
		t.tell(notify.Note{
			Group: signInGroup(t.profile), Title: "Your sign-in ends soon", Body: fmt.Sprintf("It ends at %s.", t.signIn.fresh.Ends.Local().Format("15:04")),
			Buttons: []notify.Button{{Key: string(menu.LogIn), Label: "Renew"}}, Else: "Click the badge, then Renew the sign-in.",
		}, map[string]menu.Action{string(menu.LogIn): {Verb: menu.LogIn}})
	}
	peer := t.peer()
	if peer == "" || !d.refresh && (!d.check || t.status.Server == "") {
		return // who this machine is will be known with the service's next word
	}
	t.keeping = true
	me, profile, server, s := t.me, t.profile, t.status.Server, t.signIn
	if !d.refresh {
		t.wg.Go(func() {
			err := me.check(t.ctx, peer, server)
			t.do(func() {
				t.keeping = false
				if profile == t.profile {
					t.checked(s, err)
				}
			})
		})
		return
	}
	t.wg.Go(func() {
		err := me.refresh(t.ctx, peer)
		t.do(func() {
			t.keeping = false
			if profile != t.profile {
				return // it says nothing about this network's sign-in
			}
			said := t.keeper.done(t.clock.now(), s, err)
			t.lookAgain()
			if said != t.trouble {
				t.trouble = said
			}
			if errors.Is(err, login.ErrLoginNeeded) {
				t.tell(notify.Note{
					Group: signInGroup(t.profile), Title: "Your sign-in needs you", Body: said,
					Buttons: []notify.Button{{Key: string(menu.LogIn), Label: "Log in"}}, Else: "Click the badge, then Renew the sign-in.",
				}, map[string]menu.Action{string(menu.LogIn): {Verb: menu.LogIn}})
			}
		})
	})
}

// checked takes the management server's word about s.
func (t *tray) checked(s signIn, err error) {
	was := t.keeper.bars(s)
	t.keeper.doubt, t.keeper.barred = false, time.Time{}
	t.lookAgain()
	if err == nil {
		if was {
			t.trouble = ""
		}
		return
	}
	t.keeper.barred = s.fresh.Issued
	t.trouble = sentence(err)
	if was {
		return
	}
	n := notify.Note{Group: signInGroup(t.profile), Title: "You are not let in any more", Body: t.trouble}
	if t.signIn.who != "" { // it stays, and another would be refused, too
		t.tell(n, nil)
		return
	}
	n.Buttons, n.Else = []notify.Button{{Key: string(menu.LogIn), Label: "Log in"}}, "Click the badge, then Log in."
	t.tell(n, map[string]menu.Action{string(menu.LogIn): {Verb: menu.LogIn}})
}

// tell shows a note whose buttons act as rows of the menu do, and reports whether it was shown.
func (t *tray) tell(n notify.Note, buttons map[string]menu.Action) bool {
	if t.desk.note == nil || !t.settings.get().Notify {
		return false
	}
	err := t.desk.note(n, func(key string) {
		if a, ok := buttons[key]; ok {
			t.click(a)
		}
	})
	if err != nil {
		t.log.Debug("a notification was not shown", "err", err)
	}
	return err == nil
}

// unsealed tells the person that no keychain guards their sign-in.
func (t *tray) unsealed(why string) {
	t.do(func() {
		t.tell(notify.Note{Group: "keychain", Title: "Your sign-in is kept without a keychain", Body: why}, nil)
	})
}

// noPanel tells the person once that their desktop shows no icons.
func (t *tray) noPanel() {
	if t.session == nil || !t.session.noPanel() {
		return
	}
	t.do(func() {
		if t.settings.get().ToldNoPanel {
			return
		}
		shown := t.tell(notify.Note{
			Title: "Lanyard runs without its icon",
			Body: "This desktop shows no tray icons (on GNOME the extension AppIndicator does). In a terminal, 'lanyard login' and " +
				"'lanyard status' do the same; Lanyard still keeps your sign-in fresh.",
			Buttons: []notify.Button{{Key: string(menu.LogIn), Label: "Log in"}, {Key: "terminal", Label: "Open a terminal"}},
		}, map[string]menu.Action{string(menu.LogIn): {Verb: menu.LogIn}, "terminal": {Verb: menu.OpenTerminal}})
		if !shown {
			return // the next start tells
		}
		if err := t.settings.change(func(c *choices) { c.ToldNoPanel = true }); err != nil {
			t.log.Warn("the choices were not kept", "err", err)
		}
	})
}
