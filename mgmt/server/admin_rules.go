package server

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"lanyard/mgmt/api"
	"lanyard/mgmt/policy"
	"lanyard/mgmt/store"
)

type policyPath struct {
	Policy string `path:"policy" doc:"name or id"`
}

type policyInput struct {
	Name string `path:"policy"`
	Body struct {
		Disabled bool     `json:"disabled,omitempty"`
		Deny     bool     `json:"deny,omitempty"`
		From     []string `json:"from"`
		To       []string `json:"to"`
		As       []string `json:"as"`
		api.Conditions
	}
}

func (s *Server) policyOperations(a huma.API) {
	op(s, a, http.MethodGet, "/api/admin/policies", "list-policies", "List policies", func(ctx context.Context, _ *none) (*body[[]api.Policy], error) {
		policies, err := s.store.Policies(ctx)
		return &body[[]api.Policy]{policies}, err
	})
	op(s, a, http.MethodPut, "/api/admin/policies/{policy}", "put-policy", "Make or replace a policy",
		func(ctx context.Context, in *policyInput) (*effected[api.Policy], error) {
			p := api.Policy{
				Name: in.Name, Disabled: in.Body.Disabled, Deny: in.Body.Deny, From: in.Body.From, To: in.Body.To, As: in.Body.As,
				Conditions: in.Body.Conditions,
			}
			world, _, err := s.control.World(ctx)
			if err != nil {
				return nil, err
			}
			if p, err = policy.Resolve(world, p); err != nil {
				return nil, refuse(http.StatusBadRequest, "%v", err)
			}
			if err := policy.Validate(p); err != nil {
				return nil, refuse(http.StatusBadRequest, "%v", err)
			}
			err = s.store.Change(ctx, change(ctx, "policy.put", p.Name), func(q *store.Queries) error { return q.PutPolicy(ctx, &p) })
			if err != nil {
				return nil, err
			}
			out := &effected[api.Policy]{}
			out.Body.Object = p
			out.Body.Effect, err = s.control.Apply(ctx)
			return out, err
		})
	op(s, a, http.MethodDelete, "/api/admin/policies/{policy}", "remove-policy", "Remove a policy", func(ctx context.Context, in *policyPath) (*body[api.Effect], error) {
		err := s.store.Change(ctx, change(ctx, "policy.remove", in.Policy), func(q *store.Queries) error { return q.RemovePolicy(ctx, in.Policy) })
		if err != nil {
			return nil, named(err, "policy", in.Policy)
		}
		return s.apply(ctx)
	})
}

type setupKeyInput struct {
	Body struct {
		Tags    []string    `json:"tags,omitempty"`
		Uses    int         `json:"uses,omitempty" doc:"How many machines it enrols; 0: one, -1: any number. With tags: one." minimum:"-1"`
		Expires api.Seconds `json:"expires,omitempty" doc:"Seconds until it ends; 0: a day." minimum:"0"`
	}
}

type newSetupKey struct {
	Key  string         `json:"key" doc:"The secret, with the pin of the map key. It is shown once."`
	Info store.SetupKey `json:"info"`
}

type idPath struct {
	ID string `path:"id"`
}

const maxSetupKeyLife = 90 * 24 * time.Hour

func (s *Server) setupKeyOperations(a huma.API) {
	op(s, a, http.MethodGet, "/api/admin/setup-keys", "list-setup-keys", "List setup keys", func(ctx context.Context, _ *none) (*body[[]store.SetupKey], error) {
		keys, err := s.store.SetupKeys(ctx)
		return &body[[]store.SetupKey]{keys}, err
	})
	op(s, a, http.MethodPost, "/api/admin/setup-keys", "add-setup-key", "Make a setup key", func(ctx context.Context, in *setupKeyInput) (*body[newSetupKey], error) {
		k := store.SetupKey{Tags: in.Body.Tags, UsesLeft: in.Body.Uses}
		life := in.Body.Expires.Duration()
		switch {
		case k.UsesLeft == 0:
			k.UsesLeft = 1
		case k.UsesLeft != 1 && len(k.Tags) > 0:
			return nil, refuse(http.StatusBadRequest, "A setup key with tags enrols one machine only: whoever has it decides what the machine is. Leave --uses out.")
		}
		if life == 0 {
			life = 24 * time.Hour
		}
		if life > maxSetupKeyLife {
			return nil, refuse(http.StatusBadRequest, "A setup key may last at most %d days.", int(maxSetupKeyLife/(24*time.Hour)))
		}
		for _, t := range k.Tags {
			if err := api.CheckTag(t); err != nil {
				return nil, refuse(http.StatusBadRequest, "%v", err)
			}
		}
		k.Expires = s.now().Add(life)
		secret := api.NewID("lk_") + api.NewID("")
		ev := change(ctx, "setup-key.add", "")
		err := s.store.Change(ctx, ev, func(q *store.Queries) error {
			if err := q.AddSetupKey(ctx, &k, secret); err != nil {
				return err
			}
			ev.Target = k.ID
			return nil
		})
		return &body[newSetupKey]{newSetupKey{Key: secret + "." + s.mapKeyPin(), Info: k}}, err
	})
	op(s, a, http.MethodDelete, "/api/admin/setup-keys/{id}", "revoke-setup-key", "Revoke a setup key", func(ctx context.Context, in *idPath) (*none, error) {
		return nil, s.store.Change(ctx, change(ctx, "setup-key.revoke", in.ID), func(q *store.Queries) error {
			return named(q.RevokeSetupKey(ctx, in.ID), "setup key", in.ID)
		})
	})
}

// mapKeyPin is what a setup key says of the map key, so that a machine knows its management server.
func (s *Server) mapKeyPin() string {
	h := sha256.Sum256(s.settings.Key().Public().(ed25519.PublicKey))
	return base64.RawURLEncoding.EncodeToString(h[:])[:22]
}

type tokenInput struct {
	Body struct {
		Name    string      `json:"name"`
		Scopes  []string    `json:"scopes" minItems:"1"`
		Expires api.Seconds `json:"expires,omitempty" doc:"Seconds until it ends; 0: 90 days." minimum:"0"`
	}
}

type newToken struct {
	Token string      `json:"token" doc:"The secret; it is shown once."`
	Info  store.Token `json:"info"`
}

const (
	tokenLife    = 90 * 24 * time.Hour
	maxTokenLife = 366 * 24 * time.Hour
)

func (s *Server) tokenOperations(a huma.API) {
	op(s, a, http.MethodGet, "/api/admin/tokens", "list-tokens", "List API tokens", func(ctx context.Context, _ *none) (*body[[]store.Token], error) {
		tokens, err := s.store.Tokens(ctx)
		return &body[[]store.Token]{tokens}, err
	})
	op(s, a, http.MethodPost, "/api/admin/tokens", "add-token", "Make an API token", func(ctx context.Context, in *tokenInput) (*body[newToken], error) {
		who, _ := actorOf(ctx)
		for _, scope := range in.Body.Scopes {
			if err := checkScope(scope); err != nil {
				return nil, err
			}
			if scope == ScopeAll && !who.may(ScopeAll) || scope == ScopeRead && !who.may(ScopeRead) || scope != ScopeAll && scope != ScopeRead && !who.may(scope) {
				return nil, refuse(http.StatusForbidden, "A token cannot give away the scope %q, which it does not have.", scope)
			}
		}
		life := in.Body.Expires.Duration()
		if life == 0 {
			life = tokenLife
		}
		if life > maxTokenLife {
			return nil, refuse(http.StatusBadRequest, "An API token may last at most a year.")
		}
		t := store.Token{Name: in.Body.Name, Scopes: in.Body.Scopes, Expires: s.now().Add(life)}
		secret := api.NewID("lat_") + api.NewID("")
		err := s.store.Change(ctx, change(ctx, "token.add", t.Name), func(q *store.Queries) error { return q.AddToken(ctx, &t, secret) })
		return &body[newToken]{newToken{Token: secret, Info: t}}, err
	})
	op(s, a, http.MethodDelete, "/api/admin/tokens/{id}", "revoke-token", "Revoke an API token", func(ctx context.Context, in *idPath) (*none, error) {
		return nil, s.store.Change(ctx, change(ctx, "token.revoke", in.ID), func(q *store.Queries) error {
			return named(q.RevokeToken(ctx, in.ID), "API token", in.ID)
		})
	})
}

func checkScope(scope string) error {
	if scope == ScopeAll || scope == ScopeRead {
		return nil
	}
	for _, area := range areas {
		if scope == area+":read" || scope == area+":write" {
			return nil
		}
	}
	return refuse(http.StatusBadRequest, "There is no scope %q; scopes are 'admin', 'read', or an area of %v with ':read' or ':write'.", scope, areas)
}
