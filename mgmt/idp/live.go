package idp

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/dexidp/dex/server/tokens"
	"github.com/dexidp/dex/storage"
	"google.golang.org/protobuf/encoding/protowire"

	"lanyard/mgmt/api"
	"lanyard/mgmt/store"
)

// live is dex's storage with what dex itself does not do: it hides people who are blocked, answers for people who
// do not exist at the same speed, and keeps one refresh token per login instead of one per person.
type live struct {
	storage.Storage
	p *Provider
}

// atForm marks the context of a password that somebody typed.
type atForm struct{}

// GetPassword never says that a person does not exist: it answers with a hash that no password has. Nor that one is
// blocked, but for the form: who has the password gets as far as finish, which tells them; nobody else learns of it.
func (s *live) GetPassword(ctx context.Context, email string) (storage.Password, error) {
	pw, err := s.Storage.GetPassword(ctx, email)
	if errors.Is(err, storage.ErrNotFound) {
		return s.decoy(email), nil
	}
	if err != nil {
		return pw, err
	}
	u, err := s.p.user(ctx, pw.UserID, localConnector)
	if errors.Is(err, store.ErrNotFound) || err == nil && u.Blocked && ctx.Value(atForm{}) == nil {
		return s.decoy(email), nil
	}
	return pw, err
}

func (s *live) decoy(email string) storage.Password {
	return storage.Password{Email: email, Hash: s.p.decoy, UserID: api.NewID("")}
}

func (s *live) UpdateKeys(ctx context.Context, f func(storage.Keys) (storage.Keys, error)) error {
	err := s.Storage.UpdateKeys(ctx, f)
	if err == nil {
		s.p.keysMoved()
	}
	return err
}

// dex keeps one refresh token per person and client, and deletes the old one when the person signs in on a second
// machine. Here each login keeps its own: references are kept by client and token id, and dex sees at most the one
// that its request is about, which the request's context names.

type refreshKey struct{}

func withRefresh(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, refreshKey{}, id)
}

func refKey(clientID, tokenID string) string { return clientID + "/" + tokenID }

func (s *live) narrow(ctx context.Context, o storage.OfflineSessions) storage.OfflineSessions {
	refs := map[string]*storage.RefreshTokenRef{}
	if id, ok := ctx.Value(refreshKey{}).(string); ok {
		for _, client := range []string{ClientID, DeviceClientID} { // SessionClientID gets none
			if ref := o.Refresh[refKey(client, id)]; ref != nil {
				refs[client] = ref
			}
		}
	}
	o.Refresh = refs
	return o
}

func (s *live) GetOfflineSessions(ctx context.Context, userID, connID string) (storage.OfflineSessions, error) {
	o, err := s.Storage.GetOfflineSessions(ctx, userID, connID)
	return s.narrow(ctx, o), err
}

func (s *live) CreateOfflineSessions(ctx context.Context, o storage.OfflineSessions) error {
	refs := map[string]*storage.RefreshTokenRef{}
	for client, ref := range o.Refresh {
		refs[refKey(client, ref.ID)] = ref
	}
	o.Refresh = refs
	return s.Storage.CreateOfflineSessions(ctx, o)
}

func (s *live) UpdateOfflineSessions(ctx context.Context, userID, connID string, f func(storage.OfflineSessions) (storage.OfflineSessions, error)) error {
	return s.Storage.UpdateOfflineSessions(ctx, userID, connID, func(old storage.OfflineSessions) (storage.OfflineSessions, error) {
		all := old.Refresh
		if all == nil {
			all = map[string]*storage.RefreshTokenRef{}
		}
		seen := s.narrow(ctx, old)
		if ctx.Value(refreshKey{}) != nil && len(seen.Refresh) == 0 {
			return old, storage.ErrNotFound // the login was ended while its token was being refreshed
		}
		out, err := f(seen)
		if err != nil {
			return out, err
		}
		for client, ref := range out.Refresh {
			all[refKey(client, ref.ID)] = ref
		}
		for k, ref := range all {
			if s.p.Now().Sub(ref.CreatedAt) > s.p.Settings.LoginLifetime {
				delete(all, k)
			}
		}
		out.Refresh = all
		return out, nil
	})
}

// user finds a person by dex's ids.
func (p *Provider) user(ctx context.Context, userID, connID string) (store.User, error) {
	sub, err := tokens.GenSubject(userID, connID)
	if err != nil {
		return store.User{}, err
	}
	return p.Store.UserByRef(ctx, api.UserRef{Issuer: p.issuer, Subject: sub})
}

// refreshID reads the id in a refresh token, which is base64url of a protobuf message with 1: id, 2: secret.
func refreshID(raw string) (id string) {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(raw, "="))
	if err != nil {
		return ""
	}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 || typ != protowire.BytesType {
			return ""
		}
		v, m := protowire.ConsumeBytes(b[n:])
		if m < 0 {
			return ""
		}
		if num == 1 {
			id = string(v)
		}
		b = b[n+m:]
	}
	return id
}
