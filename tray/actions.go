package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"lanyard/mgmt/api/client"
	"lanyard/platform/clipboard"
	"lanyard/platform/elevate"
	"lanyard/platform/notify"
	"lanyard/platform/paths"
	"lanyard/service/doctor"
	"lanyard/service/ipc"
	"lanyard/service/login"
	"lanyard/tray/menu"
)

// click does what a row or a notification's button says.
func (t *tray) click(a menu.Action) {
	t.do(func() {
		t.reply = reply{}
		if err := t.act(a); err != nil {
			t.failed(err)
		}
	})
}

// reply is what came of a click, for the menu: notifications may be switched off, or be missed.
type reply struct {
	text   string
	failed bool
	at     time.Time // zero: nothing is to be said
}

// replyStays is how long the menu says what came of a click, unless another click comes.
const replyStays = 10 * time.Minute

// failed tells the person that what they asked for did not happen: by the icon and in the menu, whatever else is shown.
func (t *tray) failed(err error) {
	t.log.Warn("an action failed", "err", err)
	t.reply = reply{text: sentence(err), failed: true, at: t.clock.now()}
	t.tell(notify.Note{Group: "failed", Title: "That did not work", Body: sentence(err)}, nil)
}

// result tells the person what came of a click: in a notification, or else in the menu.
func (t *tray) result(n notify.Note, buttons map[string]menu.Action) {
	if !t.tell(n, buttons) {
		t.reply = reply{text: n.Title + ". " + n.Body, at: t.clock.now()}
	}
}

func (t *tray) act(a menu.Action) error {
	switch a.Verb {
	case menu.LogIn:
		t.logIn(a.Arg)
	case logInFor:
		return t.logInTo(a.Arg)
	case notNow:
		t.answer(a.Arg, ipc.ReplyRefused)
	case menu.CancelLogin:
		if t.stop != nil {
			t.stop()
		}
	case menu.LogOut:
		t.logOut()
	case menu.Connect:
		t.change("Connecting", []string{"up"}, func(ctx context.Context, d *ipc.Client) error {
			_, err := d.Up(ctx, ipc.UpRequest{}, nil)
			return err
		})
	case menu.Disconnect:
		t.change("Disconnecting", []string{"down"}, func(ctx context.Context, d *ipc.Client) error {
			_, err := d.Down(ctx)
			return err
		})
	case menu.AllowSSH:
		t.allow(true)
	case menu.ForbidSSH:
		t.allow(false)
	case menu.EndSession:
		t.endSession(a.Arg)
	case menu.OpenTerminal:
		return t.terminal(a.Arg)
	case menu.Copy:
		t.copy(a.Arg)
	case menu.SignOutPage:
		return t.desk.browse(a.Arg)
	case menu.Dashboard:
		return t.dashboard()
	case menu.Diagnose:
		t.diagnose()
	case menu.SetStart:
		return t.setStart()
	case menu.SetNotify:
		return t.settings.change(func(c *choices) { c.Notify = !c.Notify })
	case menu.SetVisitors:
		return t.settings.change(func(c *choices) { c.Visitors = !c.Visitors })
	case menu.SetProfile:
		if a.Arg != t.profile {
			if t.stop != nil {
				t.stop()
			}
			t.enter(a.Arg)
		}
		return t.settings.change(func(c *choices) { c.Profile = a.Arg })
	case menu.Quit:
		t.cancel()
	}
	return nil
}

var errCancelled = errors.New("the sign-in was cancelled; nothing was changed")

// logIn opens the browser at a provider's page, once: a second click while it waits does nothing.
func (t *tray) logIn(issuer string) {
	if t.asked != nil {
		return
	}
	t.answer(t.profile, ipc.ReplyBegun)
	ctx, cancel := context.WithCancelCause(t.ctx)
	t.asked, t.trouble = &login.Asked{}, ""
	t.logins++
	n := t.logins
	t.stop = func() { cancel(errCancelled) }
	me, profile, before := t.me, t.profile, t.signIn
	t.wg.Go(func() {
		r, err := me.login(ctx, issuer, func(a login.Asked) {
			t.do(func() {
				if t.asked == nil || n != t.logins {
					return
				}
				t.asked = &a
				n := asking(a)
				n.Group = signInGroup(profile)
				t.tell(n, nil)
			})
		})
		cancel(nil)
		t.do(func() {
			if err != nil {
				t.answer(profile, ipc.ReplyRefused)
			} else {
				t.answer(profile, ipc.ReplySignedIn)
			}
			if n != t.logins {
				return // the person went to another network
			}
			t.asked, t.stop = nil, nil
			t.keeper.wake()
			t.lookAgain()
			t.loggedIn(before, r, err)
		})
	})
}

// asking tells what to look for in the browser.
func asking(a login.Asked) notify.Note {
	n := notify.Note{Title: "Sign in in your browser", Body: "The page is open there."}
	if a.Code != "" {
		n.Body = fmt.Sprintf("The page must show the code %s; if it shows another, do not sign in.", a.Code)
	}
	if !a.Opened {
		n.Title = "No browser could be opened"
		n.Body = "Click the badge in the panel, copy the sign-in page's address, and open it in a browser on this computer. " + n.Body
	}
	return n
}

// loggedIn says how a login ended.
func (t *tray) loggedIn(before signIn, r *login.Result, err error) {
	switch {
	case errors.Is(err, errCancelled):
		return // they clicked it themselves
	case err != nil:
		t.trouble = sentence(err)
		t.tell(notify.Note{
			Group: signInGroup(t.profile), Title: "You are not signed in", Body: t.trouble,
			Buttons: []notify.Button{{Key: string(menu.LogIn), Label: "Try again"}}, Else: "To try again, click the badge.",
		}, map[string]menu.Action{string(menu.LogIn): {Verb: menu.LogIn}})
		return
	}
	n := notify.Note{Group: signInGroup(t.profile), Title: "You are signed in", Body: "You are " + t.signIn.who + "."}
	if before.who != "" && before.who != t.signIn.who {
		n.Title = "You are signed in as somebody else"
		n.Body = fmt.Sprintf("You are %s now; before you were %s. If that is not what you want, log out and log in again.", t.signIn.who, before.who)
	} else if name, ok := t.next(r); ok {
		n.Body += " Next, in a terminal: ssh " + name
	}
	t.tell(n, nil)
}

// next is a machine that the person may reach, by the name that ssh knows.
func (t *tray) next(r *login.Result) (string, bool) {
	if t.status == nil || r == nil || r.Me == nil {
		return "", false
	}
	for _, m := range r.Me.Machines {
		for _, p := range t.status.Peers {
			if p.ID == m.Peer && p.ServesSSH {
				return menu.SSHName(p), true
			}
		}
	}
	return "", false
}

// actLimit bounds what a click may take without a word.
const actLimit = 30 * time.Second

// later runs f beside the loop; the menu says what is being done.
func (t *tray) later(busy string, limit time.Duration, f func(context.Context) error, then func()) {
	t.busy = busy
	t.wg.Go(func() {
		ctx, cancel := context.WithTimeout(t.ctx, limit)
		defer cancel()
		err := f(ctx)
		t.do(func() {
			if t.busy == busy {
				t.busy = ""
			}
			if err != nil {
				t.failed(err)
				return
			}
			if then != nil {
				then()
			}
		})
	})
}

func (t *tray) logOut() {
	me, peer, server := t.me, t.peer(), ""
	if t.status != nil {
		server = t.status.Server
	}
	if peer == "" {
		peer, _ = login.Find(paths.Find(t.profile))
	}
	page, said := "", "Your sessions were ended."
	t.later("Signing out", actLimit, func(ctx context.Context) (err error) {
		page, err = me.logout(ctx, peer, server)
		if errors.Is(err, login.ErrProviderNotTold) {
			if page == "" {
				return err
			}
			said = sentence(err) // and the page is what is left to do
			return nil
		}
		if err != nil && !errors.Is(err, login.ErrNotSignedIn) {
			return fmt.Errorf("you are signed out on this computer, but the management server was not told (%s) "+
				"so sessions that are open end only when it stops hearing of you", strings.TrimSuffix(sentence(err), "."))
		}
		return nil
	}, func() {
		t.signedOut(said, page)
	})
}

// signedOut says so, and offers the provider's own page for what the browser remembers of it.
func (t *tray) signedOut(said, page string) {
	n := notify.Note{Group: signInGroup(t.profile), Title: "You are signed out", Body: said}
	if page == "" {
		t.result(n, nil)
		return
	}
	n.Body += " Your browser may still be signed in at the provider."
	n.Buttons = []notify.Button{{Key: string(menu.SignOutPage), Label: "Sign out there, too"}}
	n.Else = "To end that, too, sign out at the provider's own page."
	t.result(n, map[string]menu.Action{string(menu.SignOutPage): {Verb: menu.SignOutPage, Arg: page}})
}

// change asks the service, and where it refuses this account, the system for administrator rights. command is what
// `lanyard` does the same with.
func (t *tray) change(busy string, command []string, ask func(context.Context, *ipc.Client) error) {
	profile := t.profile
	argv := append([]string{t.program, "--profile", profile}, command...)
	mayChange := t.status != nil && t.status.Caller.Class == ipc.ClassChange
	t.later(busy, 3*time.Minute, func(ctx context.Context) error {
		if !mayChange {
			err := t.desk.elevate(ctx, argv)
			if errors.Is(err, elevate.ErrNone) {
				return fmt.Errorf("%w; type in a terminal: %s", err, asAdmin("lanyard "+strings.Join(argv[3:], " ")))
			}
			return err
		}
		d, err := ipc.Dial(profile)
		if err != nil {
			return err
		}
		defer d.Close()
		return ask(ctx, d)
	}, nil)
}

func (t *tray) allow(on bool) {
	busy := "Allowing SSH to this computer"
	if !on {
		busy = "Closing this computer to SSH"
	}
	t.change(busy, []string{"up", fmt.Sprintf("--allow-ssh=%t", on)}, func(ctx context.Context, d *ipc.Client) error {
		_, err := d.Up(ctx, ipc.UpRequest{AllowSSH: &on}, nil)
		return err
	})
}

func (t *tray) endSession(id string) {
	profile := t.profile
	t.later("Ending a session", actLimit, func(ctx context.Context) error {
		d, err := ipc.Dial(profile)
		if err != nil {
			return err
		}
		defer d.Close()
		return d.End(ctx, id)
	}, nil)
}

// terminal opens ssh to a machine of the menu in a window, or without one a look at how things are.
func (t *tray) terminal(name string) error {
	if name == "" {
		return t.desk.terminal([]string{t.program, "openssh", "terminal", t.profile})
	}
	return t.desk.terminal([]string{t.program, "openssh", "terminal", t.profile, name})
}

// copy puts text on the clipboard, beside the loop: a program that hangs must not keep the rest. Where there is no
// clipboard, the text is shown.
func (t *tray) copy(text string) {
	t.wg.Go(func() {
		err := t.desk.copy(text)
		t.do(func() {
			switch {
			case errors.Is(err, clipboard.ErrNone):
				t.result(notify.Note{Group: "copy", Title: "There is no clipboard here", Body: text}, nil)
			case err != nil:
				t.failed(err)
			default:
				t.tell(notify.Note{Group: "copy", Title: "Copied", Body: text}, nil)
			}
		})
	})
}

func (t *tray) dashboard() error {
	if t.status == nil {
		return ipc.ErrNotRunning
	}
	u, _, err := client.Parse(t.status.Server)
	if err != nil {
		return err
	}
	return t.desk.browse(u.String())
}

func (t *tray) setStart() error {
	on := !t.settings.get().Start
	if err := t.settings.change(func(c *choices) { c.Start = on }); err != nil {
		return err
	}
	return t.desk.entry(on)
}

// diagnose runs the doctor and copies its report, which holds no secrets; it lies in a file too.
func (t *tray) diagnose() {
	p := doctor.Patient{Profile: t.profile, Paths: paths.Find(t.profile), Program: t.program, Start: asAdmin("lanyard service install")}
	file := filepath.Join(filepath.Dir(paths.User(t.profile).Login), "report.txt")
	var report bytes.Buffer
	problems, copied := 0, true
	fmt.Fprintf(&report, "Lanyard %s, %s\n", t.release, t.clock.now().UTC().Format(time.RFC3339))
	t.later("Looking for what is wrong", time.Minute, func(ctx context.Context) error {
		found := doctor.Run(ctx, p)
		for _, f := range found {
			if !f.OK && !f.Warning {
				problems++
			}
		}
		doctor.Write(&report, found)
		if err := paths.PrivateDir(filepath.Dir(file)); err != nil {
			return err
		}
		copied = t.desk.copy(report.String()) == nil
		return paths.WriteFile(file, report.Bytes(), 0o600)
	}, func() {
		body := "Nothing is wrong."
		if problems == 1 {
			body = "One thing is wrong."
		} else if problems > 1 {
			body = fmt.Sprintf("%d things are wrong.", problems)
		}
		where := "The report is on the clipboard and in " + file + "."
		if !copied {
			where = "The report is in " + file + "."
		}
		t.result(notify.Note{Group: "report", Title: "Diagnosis", Body: body + " " + where}, nil)
	})
}

// exists reports whether a file is there.
func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
