package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/client"
	"lanyard/platform/paths"
	"lanyard/service/ipc"
	"lanyard/service/keystore"
	"lanyard/service/login"
	"lanyard/tray/menu"
)

// signIn is what this machine's files say of the person's sign-in.
type signIn struct {
	who   string // empty: nobody
	fresh login.Freshness
}

// person signs in and out and stays signed in, as one profile knows them.
type person struct {
	look    func(peer string) signIn
	login   func(ctx context.Context, issuer string, asked func(login.Asked)) (*login.Result, error)
	refresh func(ctx context.Context, peer string) error
	// check asks the management server; its error says that the sign-in may not be used any more.
	check func(ctx context.Context, peer, server string) error
	// logout returns the page where the browser signs out at the provider, or "".
	logout func(ctx context.Context, peer, server string) (page string, err error)
	files  func() string // the folder whose changes may mean another sign-in
}

// newPerson is the one of service/login, whose locks make that one browser tab opens for all programs together. unsealed is
// told when no keychain guards the sign-in.
func newPerson(profile string, helper []string, unsealed func(string)) person {
	config := func() login.Config {
		p := paths.Find(profile)
		return login.Config{Paths: p, Store: keystore.Open(p.Login, helper, unsealed), Daemon: daemonOf{profile}}
	}
	return person{
		look: func(peer string) signIn {
			p := paths.Find(profile)
			if peer == "" {
				peer, _ = login.Find(p)
			}
			_, _, name := p.Identity(peer)
			f, err := login.ReadFreshness(name)
			if err != nil {
				return signIn{}
			}
			l, err := login.Load(p, peer)
			if err != nil {
				return signIn{}
			}
			s := signIn{who: l.Claims.Email, fresh: f}
			if s.who == "" {
				s.who = l.Claims.Subject
			}
			return s
		},
		login: func(ctx context.Context, issuer string, asked func(login.Asked)) (*login.Result, error) {
			c := config()
			c.Issuer, c.Asked = issuer, asked
			return c.Login(ctx)
		},
		refresh: func(ctx context.Context, peer string) error { return config().Refresh(ctx, peer, 0) },
		check:   func(ctx context.Context, peer, server string) error { return config().Check(ctx, peer, server) },
		logout: func(ctx context.Context, peer, server string) (page string, err error) {
			c := config()
			c.AlsoAt = func(p string) { page = p }
			_, err = c.Logout(ctx, peer, server, false)
			return page, err
		},
		files: func() string { return paths.Find(profile).SSHDir },
	}
}

// ours reports whether a file in that folder is of a sign-in of profile.
func ours(name, profile string) bool {
	return strings.HasPrefix(filepath.Base(name), paths.IdentityName(profile, ""))
}

// daemonOf looks for the service when it is needed.
type daemonOf struct{ profile string }

func (d daemonOf) Machine(ctx context.Context) (*ipc.Machine, error) {
	c, err := ipc.Dial(d.profile)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Machine(ctx)
}

func (d daemonOf) Login(ctx context.Context, s api.LoginStart) (*api.LoginStarted, error) {
	c, err := ipc.Dial(d.profile)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Login(ctx, s)
}

// Pauses between refreshes that did not succeed.
const (
	firstPause = 15 * time.Second
	lastPause  = 10 * time.Minute
	lockPause  = 30 * time.Minute // each try may show the keychain's own dialog
)

// keeper decides when the sign-in is refreshed and what the person is told of it. It holds no clock: now is an
// argument, as is the time that a wait should have taken.
type keeper struct {
	notBefore time.Time // of the next try after a failure
	pause     time.Duration
	refused   time.Time // Issued of the token that cannot be refreshed any more
	warned    time.Time // Ends of the login whose end was announced
	ended     time.Time // Ends of the login whose end was told
	doubt     bool      // a machine went out of reach: perhaps the sign-in did
	barred    time.Time // Issued of the token that the management server refused
}

// due is what a sign-in needs now.
type due struct {
	refresh, check, warn, ended bool
}

// plan looks at a sign-in.
func (k *keeper) plan(now time.Time, s signIn) due {
	var d due
	f := s.fresh
	switch {
	case s.who == "":
	case !now.Before(f.Ends):
		d.ended = !k.ended.Equal(f.Ends)
		k.ended = f.Ends
	default:
		d.warn = f.Ends.Sub(now) <= menu.SoonEnds && !k.warned.Equal(f.Ends)
		if d.warn {
			k.warned = f.Ends
		}
		// Good knows when a clock was set back, too.
		d.refresh = !f.Good(now, 0) && !now.Before(k.notBefore) && !k.refused.Equal(f.Issued)
		d.check = k.doubt
	}
	return d
}

// done notes how a refresh of s went, and returns what the person should know: empty when all is well.
func (k *keeper) done(now time.Time, s signIn, err error) string {
	if err == nil {
		k.pause, k.notBefore = 0, time.Time{}
		return ""
	}
	switch {
	case errors.Is(err, keystore.ErrLocked):
		k.notBefore = now.Add(lockPause)
		return "Your keychain is locked, so your sign-in cannot be kept fresh. Unlock it, or renew the sign-in."
	case errors.Is(err, login.ErrLoginNeeded):
		k.refused = s.fresh.Issued
		return "Your sign-in cannot be kept any longer" + because(err, login.ErrLoginNeeded) + ". Log in again."
	}
	if k.pause = min(max(2*k.pause, firstPause), lastPause); !errors.Is(err, login.ErrUnreachable) {
		k.pause = lastPause
	}
	k.notBefore = now.Add(k.pause)
	if errors.Is(err, login.ErrUnreachable) {
		return "Your sign-in could not be refreshed" + because(err, login.ErrUnreachable) + ". It is tried again."
	}
	return sentence(err)
}

// bars reports whether the management server refused the token of s.
func (k *keeper) bars(s signIn) bool { return !k.barred.IsZero() && k.barred.Equal(s.fresh.Issued) }

// wake forgets the pauses: the machine has slept, or another network is there.
func (k *keeper) wake() { k.pause, k.notBefore = 0, time.Time{} }

// because is what an error says beside its kind, as " (…)". What to do about it follows there.
func because(err, kind error) string {
	detail := strings.Trim(strings.TrimPrefix(err.Error(), kind.Error()), ": .")
	if strings.HasPrefix(detail, "(") && strings.HasSuffix(detail, ")") {
		detail = detail[1 : len(detail)-1]
	}
	detail, _, _ = strings.Cut(detail, "; run 'lanyard login'")
	if detail = strings.Trim(detail, " ."); detail == "" {
		return ""
	}
	return " (" + detail + ")"
}

// sentence is an error for a person who has a mouse in their hand.
func sentence(err error) string {
	text := err.Error()
	var refused *api.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		text = "there was no answer in time"
	case errors.Is(err, client.ErrUnreachable):
		text = "the management server does not answer; check the network"
	case errors.As(err, &refused):
		text = refused.Message
	}
	text = strings.NewReplacer(
		"run 'lanyard login' to try again", "click Log in to try again", "run 'lanyard login'", "click Log in",
		"run 'lanyard up'", "click Connect",
	).Replace(strings.TrimRight(text, ". "))
	if text == "" {
		text = "something went wrong"
	}
	return strings.ToUpper(text[:1]) + text[1:] + "."
}
