package store

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"lanyard/mgmt/api"
)

// Policies lists all policies in the order they were made.
func (s *Queries) Policies(ctx context.Context) ([]api.Policy, error) {
	rows, err := s.q.QueryContext(ctx, `SELECT body FROM policies ORDER BY created, id`)
	return collect(rows, err, func(r interface{ Scan(...any) error }) (p api.Policy, err error) {
		var body []byte
		if err := r.Scan(&body); err != nil {
			return p, err
		}
		return p, json.Unmarshal(body, &p)
	})
}

// PutPolicy stores a policy; one of the same name is replaced and keeps its id.
func (s *Queries) PutPolicy(ctx context.Context, p *api.Policy) error {
	var id string
	err := notFound(s.q.QueryRowContext(ctx, `SELECT id FROM policies WHERE name = ?`, p.Name).Scan(&id))
	switch {
	case err == nil:
		p.ID = id
	case errors.Is(err, ErrNotFound):
		p.ID = api.NewID("r")
	default:
		return err
	}
	_, err = s.q.ExecContext(ctx, `INSERT INTO policies(id, name, body, created) VALUES(?,?,?,?)
		ON CONFLICT(id) DO UPDATE SET body = excluded.body`, p.ID, p.Name, text(p), ms(s.now()))
	if err != nil {
		return fmt.Errorf("store the policy %s: %w", p.Name, err)
	}
	return nil
}

// RemovePolicy removes a policy by name or id.
func (s *Queries) RemovePolicy(ctx context.Context, nameOrID string) error {
	return one(s.q.ExecContext(ctx, `DELETE FROM policies WHERE name = ? OR id = ?`, nameOrID, nameOrID))
}

// SetupKey enrols machines without a person. Only a hash of the secret is kept.
type SetupKey struct {
	ID       string    `json:"id"`
	Tags     []string  `json:"tags,omitempty"`
	UsesLeft int       `json:"uses_left"` // -1: any number
	Expires  time.Time `json:"expires"`
	Created  time.Time `json:"created"`
	Revoked  bool      `json:"revoked,omitempty"`
}

func hashSecret(secret string) []byte {
	h := sha256.Sum256([]byte(secret)) // the secret has 160 random bits: no slow hash is needed
	return h[:]
}

// AddSetupKey stores k by the hash of secret.
func (s *Queries) AddSetupKey(ctx context.Context, k *SetupKey, secret string) error {
	k.ID, k.Created = api.NewID("k"), s.now()
	_, err := s.q.ExecContext(ctx, `INSERT INTO setup_keys(id, hash, tags, uses_left, expires, created) VALUES(?,?,?,?,?,?)`,
		k.ID, hashSecret(secret), text(k.Tags), k.UsesLeft, ms(k.Expires), ms(k.Created))
	return err
}

// SetupKeys lists the setup keys, newest first.
func (s *Queries) SetupKeys(ctx context.Context) ([]SetupKey, error) {
	rows, err := s.q.QueryContext(ctx, `SELECT id, tags, uses_left, expires, created, revoked FROM setup_keys ORDER BY created DESC, id`)
	return collect(rows, err, scanSetupKey)
}

func scanSetupKey(r interface{ Scan(...any) error }) (k SetupKey, err error) {
	var tags []byte
	var expires, created int64
	if err := r.Scan(&k.ID, &tags, &k.UsesLeft, &expires, &created, &k.Revoked); err != nil {
		return k, notFound(err)
	}
	k.Expires, k.Created = fromMS(expires), fromMS(created)
	return k, json.Unmarshal(tags, &k.Tags)
}

// SetupKey finds a key by its secret.
func (s *Queries) SetupKey(ctx context.Context, secret string) (SetupKey, error) {
	return scanSetupKey(s.q.QueryRowContext(ctx, `SELECT id, tags, uses_left, expires, created, revoked FROM setup_keys WHERE hash = ?`,
		hashSecret(secret)))
}

// UseSetupKey counts one use. It runs in the transaction that enrols the machine.
func (s *Queries) UseSetupKey(ctx context.Context, id string) error {
	return one(s.q.ExecContext(ctx, `UPDATE setup_keys SET uses_left = uses_left - (uses_left > 0) WHERE id = ? AND uses_left <> 0
		AND revoked = 0`, id))
}

// RevokeSetupKey makes a key useless.
func (s *Queries) RevokeSetupKey(ctx context.Context, id string) error {
	return one(s.q.ExecContext(ctx, `UPDATE setup_keys SET revoked = 1 WHERE id = ?`, id))
}

// Token is a scoped secret for the admin API. Only a hash of it is kept.
type Token struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Scopes   []string  `json:"scopes"`
	Expires  time.Time `json:"expires"`
	Created  time.Time `json:"created"`
	LastUsed time.Time `json:"last_used,omitzero"`
	Revoked  bool      `json:"revoked,omitempty"`
}

func scanToken(r interface{ Scan(...any) error }) (t Token, err error) {
	var scopes []byte
	var expires, created, used int64
	if err := r.Scan(&t.ID, &t.Name, &scopes, &expires, &created, &used, &t.Revoked); err != nil {
		return t, notFound(err)
	}
	t.Expires, t.Created, t.LastUsed = fromMS(expires), fromMS(created), fromMS(used)
	return t, json.Unmarshal(scopes, &t.Scopes)
}

const tokenColumns = `id, name, scopes, expires, created, last_used, revoked`

// AddToken stores t by the hash of secret.
func (s *Queries) AddToken(ctx context.Context, t *Token, secret string) error {
	t.ID, t.Created = api.NewID("t"), s.now()
	_, err := s.q.ExecContext(ctx, `INSERT INTO tokens(id, name, hash, scopes, expires, created) VALUES(?,?,?,?,?,?)`,
		t.ID, t.Name, hashSecret(secret), text(t.Scopes), ms(t.Expires), ms(t.Created))
	return err
}

// Tokens lists the API tokens, newest first.
func (s *Queries) Tokens(ctx context.Context) ([]Token, error) {
	rows, err := s.q.QueryContext(ctx, `SELECT `+tokenColumns+` FROM tokens ORDER BY created DESC, id`)
	return collect(rows, err, scanToken)
}

// Token finds an API token that is in force by its secret and notes its use.
func (s *Queries) Token(ctx context.Context, secret string) (Token, error) {
	t, err := scanToken(s.q.QueryRowContext(ctx, `SELECT `+tokenColumns+` FROM tokens WHERE hash = ? AND revoked = 0 AND expires > ?`,
		hashSecret(secret), ms(s.now())))
	if err != nil {
		return t, err
	}
	_, err = s.q.ExecContext(ctx, `UPDATE tokens SET last_used = ? WHERE id = ?`, ms(s.now()), t.ID)
	return t, err
}

// RevokeToken makes an API token useless.
func (s *Queries) RevokeToken(ctx context.Context, id string) error {
	return one(s.q.ExecContext(ctx, `UPDATE tokens SET revoked = 1 WHERE id = ?`, id))
}
