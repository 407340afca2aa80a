// Package login signs a person in, keeps the sign-in fresh, and ends it.
//
// A login makes a new key K and a salt. The identity provider is asked for an ID token whose nonce hashes both, in
// the person's own browser (authorization code with PKCE and a loopback redirect: RFC 8252, RFC 7636). Key, token and
// salt become an SSH certificate in the person's .ssh folder, which ssh offers like any other (sshd/token). While the
// login lives the token is refreshed: the certificate is written anew, the key stays. The refresh token is the one
// secret that is not in .ssh; it lies sealed in the keystore.
//
// All of it happens once per person at a time, whatever number of processes ask: one browser tab, one refresh.
package login

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/client"
	"lanyard/mgmt/api/reason"
	"lanyard/platform/browser"
	"lanyard/platform/paths"
	"lanyard/service/ipc"
	"lanyard/service/keystore"
	"lanyard/sshd/token"
)

// Limits of a login.
const (
	loginLimit      = 5 * time.Minute // from the browser's start to its answer
	exchangeLimit   = 20 * time.Second
	defaultLifetime = 24 * time.Hour
)

// Daemon is what a login needs of the machine's service; *ipc.Client is one.
type Daemon interface {
	Machine(context.Context) (*ipc.Machine, error)
	// Login pushes the request, signed with the machine key, with the account that the kernel says is asking.
	Login(context.Context, api.LoginStart) (*api.LoginStarted, error)
}

// Config is where and for whom to sign in.
type Config struct {
	Paths  paths.Paths
	Store  *keystore.Store
	Daemon Daemon
	Issuer string             // URL of the provider to use; empty: the network's own, or its first
	Device bool               // the browser is elsewhere: a code is typed there
	Open   func(string) error // nil: browser.Open
	Say    func(string)       // tells the person, a line at a time
	Asked  func(Asked)        // is told once the person is asked to sign in; may be nil
	Now    func() time.Time   // nil: time.Now
	// AlsoAt is told of the page where a browser ends what it remembers of a provider, after Logout; may be nil.
	AlsoAt func(page string)
}

// Asked is a sign-in that waits for the person.
type Asked struct {
	Code   string // that the page must show; empty: it shows none
	URL    string // of the page
	Opened bool   // a browser was opened there
}

func (c Config) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

func (c Config) say(format string, args ...any) {
	if c.Say != nil {
		c.Say(fmt.Sprintf(format, args...))
	}
}

func (c Config) open(url string) error {
	if c.Open != nil {
		return c.Open(url)
	}
	return browser.Open(url)
}

// Result is a login that is in force.
type Result struct {
	Login *Login
	Me    *api.Me // nil when the management server could not be told yet
	// Shared: another process signed in while this one waited, and its login is used.
	Shared bool
}

// Login signs the person in on this machine, which must be enrolled. If another process is at it already, it waits
// and takes over how that ended.
func (c Config) Login(ctx context.Context) (*Result, error) {
	return c.login(ctx, func() bool { return false })
}

// login is Login unless good says, once it is this process's turn, that none is needed any more; then Result is nil.
func (c Config) login(ctx context.Context, good func() bool) (*Result, error) {
	began := time.Now()
	t, before, err := takeTurn(ctx, c.Paths, "login", func() {
		c.say("Lanyard: a sign-in is under way; waiting for it.")
	})
	if err != nil {
		return nil, err
	}
	if good() {
		t.leave()
		return nil, nil
	}
	if before != nil {
		t.leave()
		return c.shared(ctx, before)
	}
	r, err := c.loginAlone(ctx)
	t.done(began, err)
	return r, err
}

func (c Config) loginAlone(ctx context.Context) (*Result, error) {
	machine, err := c.Daemon.Machine(ctx)
	if err != nil {
		return nil, err
	}
	if !machine.Enrolled {
		return nil, errors.New("this machine is not part of a network yet; run 'lanyard up' with your server's address first")
	}
	l, err := c.SignIn(ctx)
	if err != nil {
		return nil, err
	}
	return c.Adopt(ctx, l, machine.PeerID)
}

// shared returns the login that another process made.
func (c Config) shared(ctx context.Context, o *outcome) (*Result, error) {
	if o.Err != "" {
		return nil, o.failure()
	}
	machine, err := c.Daemon.Machine(ctx)
	if err != nil {
		return nil, err
	}
	l, err := Load(c.Paths, machine.PeerID)
	if err != nil {
		return nil, err
	}
	return &Result{Login: l, Shared: true}, nil
}

// SignIn runs the browser's part and returns the login without keeping it: Adopt does, or an enrolment in the
// person's name comes first.
func (c Config) SignIn(ctx context.Context) (*Login, error) {
	machine, err := c.Daemon.Machine(ctx)
	if err != nil {
		return nil, err
	}
	server, err := client.New(machine.Server)
	if err != nil {
		return nil, err
	}
	cfg, err := server.Config(ctx)
	if err != nil {
		return nil, err
	}
	issuer, err := c.issuer(cfg.Issuers, machine.PeerID)
	if err != nil {
		return nil, err
	}
	key, salt, err := token.NewKey(c.now())
	if err != nil {
		return nil, err
	}
	a := attempt{
		Config: c, machine: machine, server: server, issuer: issuer,
		state: random(), verifier: oauth2.GenerateVerifier(),
		login: &Login{Login: client.Login{Key: key, Salt: salt}},
	}
	ctx, cancel := context.WithTimeoutCause(ctx, loginLimit, nobodyCame(machine))
	defer cancel()
	return a.run(ctx)
}

// nobodyCame is how a sign-in ends that nobody finished: one for a machine that is to join began with 'lanyard up'.
func nobodyCame(m *ipc.Machine) error {
	again := "lanyard login"
	if !m.Enrolled {
		again = "lanyard up"
	}
	return fmt.Errorf("nobody signed in within 5 minutes; run '%s' to try again", again)
}

// issuer is the provider that was asked for, by its address or name; else the one of the last login on the machine peer;
// else the network's own.
func (c Config) issuer(all []api.Issuer, peer string) (api.Issuer, error) {
	if c.Issuer == "" {
		if l, err := Load(c.Paths, peer); err == nil {
			for _, i := range all {
				if i.URL == l.Claims.Issuer {
					return i, nil
				}
			}
		}
	}
	for _, i := range all {
		if c.Issuer != "" && c.Issuer == i.Name {
			return i, nil
		}
		if c.Issuer == i.URL || c.Issuer == "" && i.Embedded {
			return i, nil
		}
	}
	if c.Issuer == "" && len(all) > 0 {
		return all[0], nil
	}
	if c.Issuer != "" {
		var names []string
		for _, i := range all {
			names = append(names, printable(i.URL))
		}
		return api.Issuer{}, fmt.Errorf("the network has no identity provider %s; it has %s", c.Issuer, strings.Join(names, ", "))
	}
	return api.Issuer{}, errors.New("the network has no identity provider yet; ask your administrator")
}

// attempt is one run of the browser's part.
type attempt struct {
	Config
	machine  *ipc.Machine
	server   *client.Client
	issuer   api.Issuer
	state    string
	verifier string // RFC 7636 §4.1
	login    *Login
}

func (a *attempt) run(ctx context.Context) (*Login, error) {
	if a.Device {
		return a.runDevice(ctx)
	}
	cb, err := listen(a.state, a.issuer.URL)
	if err != nil {
		return nil, err
	}
	defer cb.close()
	started, err := a.start(ctx, cb.url())
	if err != nil {
		return nil, err
	}
	if err := checkURL(started.TokenURL); err != nil {
		return nil, err
	}
	a.show(started)
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case got := <-cb.got:
		err := got.err
		if err == nil {
			err = a.finish(ctx, started, cb.url(), got.code)
		}
		got.end <- err
		if err != nil {
			return nil, err
		}
		return a.login, nil
	}
}

// start pushes the request (RFC 9126 in shape): no browser ever begins a login that this machine did not ask for.
func (a *attempt) start(ctx context.Context, redirect string) (*api.LoginStarted, error) {
	if !a.issuer.Embedded {
		return a.startDirect(ctx, redirect)
	}
	purpose := api.PurposeLogin
	if !a.machine.Enrolled {
		purpose = api.PurposeEnroll
	}
	return a.Daemon.Login(ctx, api.LoginStart{
		Purpose: purpose, Issuer: a.issuer.URL, MachineName: a.machine.Name,
		Key: wireKey(a.login.Key), Salt: a.login.Salt,
		CodeChallenge: oauth2.S256ChallengeFromVerifier(a.verifier),
		RedirectURI:   redirect, State: a.state,
	})
}

func (a *attempt) show(s *api.LoginStarted) {
	if s.ShortCode != "" {
		a.say("Sign in in your browser. The page must name %s and show the code %s.", printable(a.machine.Name), printable(s.ShortCode))
	} else {
		a.say("Sign in in your browser.")
	}
	err := a.open(s.AuthURL)
	if a.Asked != nil {
		a.Asked(Asked{Code: s.ShortCode, URL: s.AuthURL, Opened: err == nil})
	}
	if err != nil {
		a.say("No browser could be opened; open this address on this machine:\n  %s", printable(s.AuthURL))
		if a.machine.Enrolled {
			a.say("Or press Ctrl-C, and sign in on your phone or another computer with: lanyard login --device")
		}
		return
	}
	a.say("If no page appears, open this address on this machine:\n  %s", printable(s.AuthURL))
}

// finish trades the code for tokens and checks that they are bound to K.
func (a *attempt) finish(ctx context.Context, s *api.LoginStarted, redirect, code string) error {
	ctx, cancel := context.WithTimeout(ctx, exchangeLimit)
	defer cancel()
	cfg := oauthConfig(s.ClientID, s.TokenURL)
	cfg.RedirectURL = redirect
	tok, err := cfg.Exchange(a.httpContext(ctx), code, oauth2.VerifierOption(a.verifier))
	if err != nil {
		return fmt.Errorf("trade the sign-in for a token: %w", plain(err))
	}
	raw, _ := tok.Extra("id_token").(string)
	return a.take(s, raw, tok.RefreshToken)
}

// take keeps the tokens, once it is clear that they are bound to K.
func (a *attempt) take(s *api.LoginStarted, raw, refresh string) error {
	claims, err := token.Peek(raw)
	if err != nil {
		return fmt.Errorf("read the ID token: %w", err)
	}
	if claims.Issuer != a.issuer.URL {
		return errMixUp
	}
	if claims.Nonce != token.Nonce(a.login.Salt, wireKey(a.login.Key)) {
		return errors.New("the ID token was made for another key; nothing was kept, run 'lanyard login' to try again")
	}
	lifetime := a.issuer.LoginLifetime.Duration()
	if lifetime <= 0 {
		lifetime = defaultLifetime
	}
	a.login.Bound, a.login.Claims = raw, claims
	a.login.Record = Record{
		Server: a.machine.Server, Issuer: a.issuer.URL, ClientID: s.ClientID, TokenURL: s.TokenURL,
		RefreshToken: refresh, Ends: a.now().Add(lifetime),
	}
	return nil
}

// httpContext carries the client for the provider: the embedded one is behind the management server's pin.
func (a *attempt) httpContext(ctx context.Context) context.Context {
	if a.issuer.Embedded {
		return context.WithValue(ctx, oauth2.HTTPClient, a.server.HTTP())
	}
	return context.WithValue(ctx, oauth2.HTTPClient, abroad())
}

// Adopt makes l this user's login on the machine peer, and tells the management server.
func (c Config) Adopt(ctx context.Context, l *Login, peer string) (*Result, error) {
	if err := l.Save(c.Paths, c.Store, peer, c.now()); err != nil {
		return nil, err
	}
	me, err := c.report(ctx, l, peer)
	if err := c.later(peer, err); err != nil {
		return nil, err
	}
	return &Result{Login: l, Me: me}, nil
}

// errUntold is returned when the management server could not be told of a login.
var errUntold = errors.New("the management server could not be told of your sign-in")

// report proves the login to the management server. An answer that ends the login deletes its files; silence and other
// refusals do not.
func (c Config) report(ctx context.Context, l *Login, peer string) (*api.Me, error) {
	server, err := client.New(l.Record.Server)
	if err != nil {
		return nil, err
	}
	me, err := server.Seen(ctx, l.Login)
	if err == nil {
		return me, nil
	}
	var refused *api.Error
	if errors.As(err, &refused) && refused.Status/100 == 4 {
		if ended(refused) {
			return nil, errors.Join(err, Forget(c.Paths, c.Store, peer))
		}
		return nil, err
	}
	return nil, fmt.Errorf("%w (%w)", errUntold, err)
}

// later takes a report that nobody heard for none: the next ssh in a while tries again.
func (c Config) later(peer string, told error) error {
	if !errors.Is(told, errUntold) {
		return told
	}
	c.postpone(peer, retryAfter)
	c.say("Lanyard: %v; it is tried again.", told)
	return nil
}

// ended reports whether the management server's answer means that the login is no more.
func ended(e *api.Error) bool {
	switch reason.Code(e.Code) {
	case reason.Revoked, reason.Blocked, reason.LoginExpired, reason.Logout:
		return true
	}
	return false
}

func oauthConfig(clientID, tokenURL string) *oauth2.Config {
	return &oauth2.Config{ClientID: clientID, Endpoint: oauth2.Endpoint{TokenURL: tokenURL, AuthStyle: oauth2.AuthStyleInParams}}
}

func random() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails (crypto/rand since Go 1.24)
	return base64.RawURLEncoding.EncodeToString(b)
}
