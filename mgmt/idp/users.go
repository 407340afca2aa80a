package idp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/mail"
	"strings"
	"unicode/utf8"

	"github.com/dexidp/dex/server/tokens"
	"github.com/dexidp/dex/storage"
	"golang.org/x/crypto/bcrypt"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/store"
)

// NewUser is a person whose password is kept here.
type NewUser struct {
	Email, Name, Password string
	Admin                 bool
}

func badRequest(format string, args ...any) error {
	return &api.Error{Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
}

// hash checks a password and hashes it.
func (p *Provider) hash(password string) ([]byte, error) {
	switch {
	case utf8.RuneCountInString(password) < 8:
		return nil, badRequest("The password is too short; take at least 8 characters.")
	case len(password) > 72: // bcrypt looks at no more
		return nil, badRequest("The password is too long; take at most 72 bytes.")
	}
	return bcrypt.GenerateFromPassword([]byte(password), p.PasswordCost)
}

// AddUser makes a person with a password. Their row exists at once, so that policies can name them before they
// first sign in. ev is written with it.
func (p *Provider) AddUser(ctx context.Context, n NewUser, ev *audit.Event) (store.User, error) {
	email := strings.ToLower(strings.TrimSpace(n.Email))
	if a, err := mail.ParseAddress(email); err != nil || a.Address != email {
		return store.User{}, badRequest("%q is not an email address.", n.Email)
	}
	hash, err := p.hash(n.Password)
	if err != nil {
		return store.User{}, err
	}
	userID := api.NewID("")
	sub, err := tokens.GenSubject(userID, localConnector)
	if err != nil {
		return store.User{}, err
	}
	name, _, _ := strings.Cut(email, "@")
	err = p.db.CreatePassword(ctx, storage.Password{
		Email: email, Hash: hash, UserID: userID, Username: name, Name: n.Name, PreferredUsername: name,
	})
	if errors.Is(err, storage.ErrAlreadyExists) {
		return store.User{}, &api.Error{Status: http.StatusConflict, Message: fmt.Sprintf("There is somebody with the address %s already.", email)}
	}
	if err != nil {
		return store.User{}, fmt.Errorf("store the password: %w", err)
	}
	u := store.User{UserRef: api.UserRef{Issuer: p.issuer, Subject: sub}, Email: email, Name: n.Name, Admin: n.Admin}
	ev.Target = email
	err = p.Store.Change(ctx, ev, func(q *store.Queries) error { return q.AddUser(ctx, &u) })
	if err != nil {
		// The password alone lets nobody in; it must not keep the address either.
		err = errors.Join(err, p.db.DeletePassword(context.WithoutCancel(ctx), email))
	}
	return u, err
}

// SetPassword gives a person of this provider another password.
func (p *Provider) SetPassword(ctx context.Context, u store.User, password string) error {
	hash, err := p.hash(password)
	if err != nil {
		return err
	}
	err = p.db.UpdatePassword(ctx, u.Email, func(old storage.Password) (storage.Password, error) {
		old.Hash = hash
		return old, nil
	})
	if errors.Is(err, storage.ErrNotFound) {
		return badRequest("%s has no password here; they sign in elsewhere.", u.Email)
	}
	return err
}

// RevokeAll ends the refresh tokens of a person, and what would become some: sign-ins behind the password, then codes.
// In this order, so that what goes on meanwhile is met at its next step.
func (p *Provider) RevokeAll(ctx context.Context, u store.User) error {
	requests, err := p.Store.Dex().ListAuthRequests(ctx)
	if err != nil {
		return err
	}
	for _, r := range requests {
		if sub, err := tokens.GenSubject(r.Claims.UserID, r.ConnectorID); err != nil || !r.LoggedIn || sub != u.Subject || u.Blocked {
			continue // a blocked person's is refused by name when it goes on
		}
		if err := p.db.DeleteAuthRequest(ctx, r.ID); err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
	}
	codes, err := p.Store.Dex().ListAuthCodes(ctx)
	if err != nil {
		return err
	}
	for _, c := range codes {
		if sub, err := tokens.GenSubject(c.Claims.UserID, c.ConnectorID); err != nil || sub != u.Subject {
			continue
		}
		if err := p.db.DeleteAuthCode(ctx, c.ID); err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
	}
	return p.deleteRefresh(ctx, u, func(storage.RefreshToken) bool { return true })
}

// Revoke ends the refresh token of one of the person's logins, by its nonce: however often the token was changed for a
// newer one, and by whom.
func (p *Provider) Revoke(ctx context.Context, u store.User, nonce string) error {
	return p.deleteRefresh(ctx, u, func(t storage.RefreshToken) bool { return t.Nonce == nonce })
}

// deleteRefresh deletes those of a person's refresh tokens that are meant.
func (p *Provider) deleteRefresh(ctx context.Context, u store.User, meant func(storage.RefreshToken) bool) error {
	all, err := p.db.ListRefreshTokens(ctx)
	if err != nil {
		return err
	}
	for _, t := range all {
		if sub, err := tokens.GenSubject(t.Claims.UserID, t.ConnectorID); err != nil || sub != u.Subject || !meant(t) {
			continue
		}
		if err := p.db.DeleteRefresh(ctx, t.ID); err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
	}
	return nil
}

// Sweep forgets refresh tokens that have ended.
func (p *Provider) Sweep(ctx context.Context) error {
	all, err := p.db.ListRefreshTokens(ctx)
	if err != nil {
		return err
	}
	for _, t := range all {
		if p.Now().Sub(t.CreatedAt) > p.Settings.LoginLifetime {
			if err := p.db.DeleteRefresh(ctx, t.ID); err != nil && !errors.Is(err, storage.ErrNotFound) {
				return err
			}
		}
	}
	return nil
}
