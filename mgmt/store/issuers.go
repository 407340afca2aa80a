package store

import (
	"context"
	"encoding/json"
	"time"

	"lanyard/mgmt/api"
)

// Issuers lists the other OpenID providers, without keys, in the order they were added.
func (s *Queries) Issuers(ctx context.Context) ([]api.Issuer, error) {
	rows, err := s.q.QueryContext(ctx, `SELECT body FROM issuers ORDER BY created, url`)
	return collect(rows, err, func(r interface{ Scan(...any) error }) (is api.Issuer, err error) {
		var body []byte
		if err := r.Scan(&body); err != nil {
			return is, err
		}
		return is, json.Unmarshal(body, &is)
	})
}

// PutIssuer stores a provider; one of the same URL is replaced.
func (s *Queries) PutIssuer(ctx context.Context, is api.Issuer) error {
	_, err := s.q.ExecContext(ctx, `INSERT INTO issuers(url, body, created) VALUES(?,?,?)
		ON CONFLICT(url) DO UPDATE SET body = excluded.body`, is.URL, text(is), ms(s.now()))
	return err
}

// RemoveIssuer removes a provider with the keys that were seen of it. What was distrusted stays so.
func (s *Queries) RemoveIssuer(ctx context.Context, url string) error {
	if err := one(s.q.ExecContext(ctx, `DELETE FROM issuers WHERE url = ?`, url)); err != nil {
		return err
	}
	_, err := s.q.ExecContext(ctx, `DELETE FROM issuer_keys WHERE issuer = ?`, url)
	return err
}

// LastIssuerKeys are the keys that an issuer published when it last answered, and when that was.
func (s *Queries) LastIssuerKeys(ctx context.Context, issuer string) ([]json.RawMessage, time.Time, error) {
	var at int64
	rows, err := s.q.QueryContext(ctx, `SELECT jwk, last_seen FROM issuer_keys WHERE issuer = ?
		AND last_seen = (SELECT MAX(last_seen) FROM issuer_keys WHERE issuer = ?) ORDER BY kid`, issuer, issuer)
	keys, err := collect(rows, err, func(r interface{ Scan(...any) error }) (json.RawMessage, error) {
		var jwk string
		err := r.Scan(&jwk, &at)
		return json.RawMessage(jwk), err
	})
	return keys, fromMS(at), err
}

// Distrusted are keys by the URL of their issuer.
type Distrusted map[string][]api.KeyRef

// Distrusted lists the keys that an administrator distrusts.
func (s *Queries) Distrusted(ctx context.Context) (Distrusted, error) {
	type row struct {
		issuer string
		key    api.KeyRef
	}
	rows, err := s.q.QueryContext(ctx, `SELECT issuer, id, kid FROM distrusted ORDER BY issuer, id`)
	all, err := collect(rows, err, func(r interface{ Scan(...any) error }) (x row, err error) {
		return x, r.Scan(&x.issuer, &x.key.ID, &x.key.KID)
	})
	if err != nil {
		return nil, err
	}
	out := Distrusted{}
	for _, x := range all {
		out[x.issuer] = append(out[x.issuer], x.key)
	}
	return out, nil
}

// Distrust notes that a key of an issuer is not to be trusted any more, for good.
func (s *Queries) Distrust(ctx context.Context, issuer string, key api.KeyRef) error {
	_, err := s.q.ExecContext(ctx, `INSERT INTO distrusted(id, issuer, kid, created) VALUES(?,?,?,?) ON CONFLICT DO NOTHING`,
		key.ID, issuer, key.KID, ms(s.now()))
	return err
}
