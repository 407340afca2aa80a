package login

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/oauth2"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/client"
	"lanyard/mgmt/api/reason"
	"lanyard/platform/paths"
	"lanyard/service/keystore"
	"lanyard/sshd/token"
)

// ErrLoginNeeded is returned when the login cannot be refreshed any more: a person has to sign in.
var ErrLoginNeeded = errors.New("your sign-in has ended; run 'lanyard login'")

// ErrUnreachable is returned when the provider or the management server does not answer; the login itself is good.
var ErrUnreachable = errors.New("your sign-in could not be refreshed")

const (
	// refreshLimit bounds a refresh, and with it how long an ssh command waits when nobody answers.
	refreshLimit = 8 * time.Second
	// retryAfter keeps ssh commands from waiting for a silent server one after the other.
	retryAfter = time.Minute
)

// Refresh gets a younger token for the login on the machine peer, unless another process just did. maxAge is how old
// a token the machine at the other end takes (0: the default).
func (c Config) Refresh(ctx context.Context, peer string, maxAge time.Duration) error {
	began := time.Now()
	t, before, err := takeTurn(ctx, c.Paths, "refresh", nil)
	if err != nil {
		return err
	}
	if Fresh(c.Paths, peer, maxAge, c.now()) {
		t.leave()
		return nil
	}
	if before != nil && before.Err != "" {
		t.leave()
		return before.failure()
	}
	err = c.refreshAlone(ctx, peer)
	t.done(began, err)
	return err
}

// failure gives another process's failure its kind or its reason code back.
func (o *outcome) failure() error {
	for _, kind := range []error{ErrLoginNeeded, ErrUnreachable} {
		if len(o.Err) >= len(kind.Error()) && o.Err[:len(kind.Error())] == kind.Error() {
			rest := o.Err[len(kind.Error()):]
			if o.Code != "" {
				return fmt.Errorf("%w%w", kind, &api.Error{Code: o.Code, Message: rest})
			}
			return fmt.Errorf("%w%s", kind, rest)
		}
	}
	if o.Code != "" {
		return &api.Error{Code: o.Code, Message: o.Err}
	}
	return errors.New(o.Err)
}

func (c Config) refreshAlone(ctx context.Context, peer string) error {
	ctx, cancel := context.WithTimeout(ctx, refreshLimit)
	defer cancel()
	l, err := Load(c.Paths, peer)
	if err != nil {
		return fmt.Errorf("%w (%w)", ErrLoginNeeded, err)
	}
	l.Record, err = LoadRecord(c.Store, peer)
	switch {
	case errors.Is(err, keystore.ErrLocked):
		return fmt.Errorf("%w (%w)", ErrLoginNeeded, err)
	case err != nil || l.Record.RefreshToken == "" || !c.now().Before(l.Record.Ends):
		return ErrLoginNeeded
	}
	server, err := client.New(l.Record.Server)
	if err != nil {
		return err
	}
	for again := true; ; again = false {
		raw, err := c.renew(ctx, server, l, peer)
		if err == nil {
			err = c.offer(ctx, l, raw, peer)
		}
		var refused *api.Error
		switch {
		case err == nil:
			return nil
		case !errors.As(err, &refused):
			return err
		case ended(refused) && reason.Code(refused.Code) != reason.Blocked:
			return fmt.Errorf("%w (%w)", ErrLoginNeeded, refused)
		case again && anotherMayDo(refused):
			continue // once: the provider may have changed its keys, or taken its time
		}
		return err
	}
}

// offer makes raw the login's newest token and reports that. One that the management server refuses no machine takes either:
// the one that is there stays, which may be good still.
func (c Config) offer(ctx context.Context, l *Login, raw, peer string) error {
	newer, came := *l, c.now()
	newer.Fresh = raw
	_, told := c.report(ctx, &newer, peer)
	if refused := (*api.Error)(nil); errors.As(told, &refused) && (ended(refused) || anotherMayDo(refused)) {
		return told
	}
	if err := newer.save(c.Paths, peer, came, false); err != nil {
		return err
	}
	*l = newer
	return c.later(peer, told)
}

// anotherMayDo reports whether a refused token is one that a newer one may stand in for.
func anotherMayDo(e *api.Error) bool {
	switch reason.Code(e.Code) {
	case reason.TokenExpired, reason.Signature, reason.TokenMalformed, reason.KeyMismatch:
		return true
	}
	return false
}

// renew trades the refresh token for a new ID token, bound to the same key and person.
func (c Config) renew(ctx context.Context, server *client.Client, l *Login, peer string) (string, error) {
	r := l.Record
	if err := checkURL(r.TokenURL); err != nil {
		return "", err
	}
	// The pinned client serves the embedded provider; another one is on the web and has no business with the pin.
	octx := context.WithValue(ctx, oauth2.HTTPClient, abroad())
	if sameHost(r.TokenURL, server.URL("/")) {
		octx = context.WithValue(ctx, oauth2.HTTPClient, server.HTTP())
	}
	tok, err := oauthConfig(r.ClientID, r.TokenURL).TokenSource(octx, &oauth2.Token{RefreshToken: r.RefreshToken}).Token()
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) {
		// RFC 6749 §5.2: the refresh token is used up, revoked or expired.
		if refused.ErrorCode == "invalid_grant" {
			r.RefreshToken = ""
			if err := storeRecord(c.Store, peer, r); err != nil {
				return "", errors.Join(ErrLoginNeeded, err)
			}
			if refused := c.endedAt(ctx, server, l, peer); refused != nil {
				return "", refused
			}
			return "", ErrLoginNeeded
		}
		return "", fmt.Errorf("%w: %w", ErrUnreachable, plain(err))
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnreachable, plain(err))
	}
	// A rotated refresh token is kept before anything else can fail: the old one is worthless.
	if tok.RefreshToken != "" && tok.RefreshToken != r.RefreshToken {
		r.RefreshToken = tok.RefreshToken
		if err := storeRecord(c.Store, peer, r); err != nil {
			return "", err
		}
		l.Record = r // what is asked for next, is asked for with the new one
	}
	raw, _ := tok.Extra("id_token").(string)
	fresh, err := token.Peek(raw)
	if err != nil {
		return "", fmt.Errorf("%w (the provider refreshes no ID token)", ErrLoginNeeded)
	}
	switch {
	case fresh.Issuer != l.Claims.Issuer || fresh.Subject != l.Claims.Subject:
		return "", fmt.Errorf("%w (the refreshed token names another person)", ErrLoginNeeded)
	case fresh.Nonce == "":
		return c.trade(ctx, server, l, peer, raw)
	case fresh.Nonce != l.Claims.Nonce:
		return "", fmt.Errorf("%w (the refreshed token was made for another key)", ErrLoginNeeded)
	}
	return raw, nil
}

// endedAt asks the management server whether the login is no more; then its files go, and why is returned. A provider that
// takes a refresh token no longer does not say why.
func (c Config) endedAt(ctx context.Context, server *client.Client, l *Login, peer string) error {
	if refused := refusedBy(ctx, server, l); refused != nil {
		return errors.Join(refused, Forget(c.Paths, c.Store, peer))
	}
	return nil
}

// trade gives a refreshed token without a nonce to the management server, and gets its word in exchange. Such a token
// would open doors without the key: it is neither kept nor shown to anybody else.
func (c Config) trade(ctx context.Context, server *client.Client, l *Login, peer, raw string) (string, error) {
	proof := l.Login
	proof.Fresh = "" // the older one has perhaps run out, and adds nothing
	renewal, err := server.Renew(ctx, proof, raw)
	var refused *api.Error
	switch {
	case err == nil:
	case errors.Is(err, client.ErrUnreachable):
		return "", fmt.Errorf("%w: %w", ErrUnreachable, err)
	case errors.As(err, &refused) && ended(refused):
		err := errors.Join(err, Forget(c.Paths, c.Store, peer))
		if reason.Code(refused.Code) == reason.Blocked {
			return "", err
		}
		return "", fmt.Errorf("%w (%w)", ErrLoginNeeded, refused)
	case errors.As(err, &refused) && refused.Status == http.StatusNotFound:
		return "", fmt.Errorf("%w (the provider's refreshed tokens are not bound to your key, and the management server is too old to renew them)", ErrLoginNeeded)
	default:
		return "", err
	}
	got, err := token.Peek(renewal)
	if err != nil || !token.IsRenewal(renewal) || got.Issuer != l.Claims.Issuer || got.Subject != l.Claims.Subject {
		return "", errors.New("the management server's answer is not a renewal of this sign-in; upgrade it, or run 'lanyard login'")
	}
	return renewal, nil
}

// postpone moves the next refresh a little into the future.
func (c Config) postpone(peer string, d time.Duration) {
	_, _, name := c.Paths.Identity(peer)
	f, err := ReadFreshness(name)
	if err != nil {
		return
	}
	f.RefreshAfter = c.now().Add(d)
	_ = paths.WriteFile(name, []byte(f.String()), 0o600) // else the next ssh tries at once
}

// Ensure makes the certificate for the machine peer good to offer: as it is, refreshed, or by a new login where
// mayLogin allows one. nil means that ssh may go on with it.
func (c Config) Ensure(ctx context.Context, peer string, maxAge time.Duration, mayLogin bool) error {
	if Fresh(c.Paths, peer, maxAge, c.now()) {
		return nil
	}
	err := c.Refresh(ctx, peer, maxAge)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrUnreachable):
		// The machine at the other end decides how old a token it takes; a longer wait here helps nobody.
		c.postpone(peer, retryAfter)
		c.say("Lanyard: %v; going on with the one that is there. [%s]", err, reason.Unreachable)
		return nil
	case !errors.Is(err, ErrLoginNeeded):
		return err
	case !mayLogin:
		return &reason.Error{Code: c.missing(peer, err), Detail: err.Error()}
	}
	if err := c.justFailed(); err != nil {
		return err
	}
	_, err = c.login(ctx, func() bool { return Fresh(c.Paths, peer, maxAge, c.now()) })
	return err
}

// cooling is how long nothing opens a tab by itself after a sign-in that failed: a loop of ssh would open one after the
// other. 'lanyard login' and a click do not wait.
const cooling = 10 * time.Second

// justFailed is how the last sign-in failed, if that was a moment ago. One that was interrupted does not count.
func (c Config) justFailed() error {
	o := lastTurn(c.Paths, "login")
	if ago := time.Since(o.Ended); o.Err == "" || o.Err == context.Canceled.Error() || ago < 0 || ago > cooling {
		return nil
	}
	return o.failure()
}

// Await waits for the end of a sign-in that another process has begun, if one has, and reports whether the certificate
// for the machine peer is good to offer.
func (c Config) Await(ctx context.Context, peer string, maxAge time.Duration) (bool, error) {
	t, free, err := tryTurn(c.Paths, "login")
	if err == nil && !free {
		c.say("Lanyard: a sign-in is under way; waiting for it.")
		t, _, err = takeTurn(ctx, c.Paths, "login", nil)
	}
	if err != nil {
		return false, err
	}
	t.leave()
	return Fresh(c.Paths, peer, maxAge, c.now()), nil
}

// missing says why there is no good login, of which err is how its refresh failed.
func (c Config) missing(peer string, err error) reason.Code {
	if refused := (*api.Error)(nil); errors.As(err, &refused) && ended(refused) {
		return reason.Code(refused.Code)
	}
	if _, err := Load(c.Paths, peer); err != nil {
		return reason.NotLoggedIn
	}
	return reason.LoginExpired
}
