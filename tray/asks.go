package main

import (
	"context"
	"fmt"
	"time"

	"lanyard/platform/notify"
	"lanyard/service/ipc"
	"lanyard/tray/menu"
)

// notNow is the button of a note that sends the waiting programs away.
const notNow menu.Verb = "not-now"

// signInGroup joins the notifications about the sign-in to one network: what comes of one takes its place.
func signInGroup(profile string) string { return "sign-in " + profile }

// listen tells the service of each network that somebody can be asked here, and hears what programs wait for. Where
// nothing can be shown, nobody listens, and such a program is refused at once.
func (t *tray) listen() {
	open := map[string]context.CancelFunc{}
	for t.ctx.Err() == nil {
		wanted := map[string]bool{}
		if t.desk.note != nil && t.settings.get().Notify {
			for _, p := range profilesHere(t.settings.get().Profile) {
				wanted[p] = true
			}
		}
		for p, stop := range open {
			if !wanted[p] {
				stop()
				delete(open, p)
			}
		}
		for p := range wanted {
			if open[p] == nil {
				ctx, stop := context.WithCancel(t.ctx)
				open[p] = stop
				t.wg.Go(func() { t.hearAsks(ctx, p) })
			}
		}
		select {
		case <-t.ctx.Done():
		case <-time.After(look):
		}
	}
}

// hearAsks follows one network's service.
func (t *tray) hearAsks(ctx context.Context, profile string) {
	for ctx.Err() == nil {
		if d, err := ipc.Dial(profile); err == nil {
			_ = d.Asks(ctx, func(a ipc.Ask) error { // it ends with the service, and begins again
				t.do(func() {
					if ctx.Err() == nil {
						t.wish(profile, a)
					}
				})
				return nil
			})
			d.Close()
		}
		select {
		case <-ctx.Done():
		case <-time.After(again):
		}
	}
}

// wish asks the person, unless they are at it.
func (t *tray) wish(profile string, a ipc.Ask) {
	if t.waiting[profile].ID == a.ID {
		return // the service's connection broke in between
	}
	t.waiting[profile] = a
	if t.asked != nil && t.profile == profile {
		t.answer(profile, ipc.ReplyBegun)
		return
	}
	what := "A program of yours"
	if a.To != "" {
		what = "ssh to " + a.To
	}
	if profile != t.profile {
		what += ", in the network " + profile + ","
	}
	shown := t.tell(notify.Note{
		Group: signInGroup(profile), Title: what + " needs you to sign in", // what comes of it takes its place
		Body:    "It waits until you click Log in, here or in the menu of the badge. An editor or a timer may have started it.",
		Buttons: []notify.Button{{Key: string(menu.LogIn), Label: "Log in"}, {Key: string(notNow), Label: "Not now"}},
	}, map[string]menu.Action{string(menu.LogIn): {Verb: logInFor, Arg: profile}, string(notNow): {Verb: notNow, Arg: profile}})
	if !shown {
		t.answer(profile, ipc.ReplyRefused)
	}
}

// logInFor signs in for what waits, in its network.
const logInFor menu.Verb = "log-in-for"

func (t *tray) logInTo(profile string) error {
	if profile != t.profile {
		if err := t.act(menu.Action{Verb: menu.SetProfile, Arg: profile}); err != nil {
			return err
		}
	}
	t.logIn("")
	return nil
}

// freed notices that the person signed in by another program.
func (t *tray) freed(s signIn) {
	if s.who != "" && s.fresh.Good(t.clock.now(), 0) {
		t.answer(t.profile, ipc.ReplySignedIn)
	}
}

// answer tells the service how it stands with what waits in profile's network.
func (t *tray) answer(profile string, how ipc.Reply) {
	a, ok := t.waiting[profile]
	if !ok {
		return
	}
	if how != ipc.ReplyBegun {
		delete(t.waiting, profile)
	}
	t.wg.Go(func() {
		ctx, cancel := context.WithTimeout(t.ctx, actLimit)
		defer cancel()
		d, err := ipc.Dial(profile)
		if err == nil {
			defer d.Close()
			err = d.Answer(ctx, ipc.Answer{ID: a.ID, How: how})
		}
		if err != nil {
			t.log.Warn("the service was not told of the sign-in", "err", fmt.Errorf("%s: %w", how, err))
		}
	})
}
