package store

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"lanyard/mgmt/api"
)

// Settings are the facts of this network. They are drawn at first run.
type Settings struct {
	Network  string       `json:"network"` // id
	Name     string       `json:"name"`
	MapKey   []byte       `json:"map_key"` // ed25519 seed; never leaves the server
	FlowKey  []byte       `json:"flow_key"`
	Overlay4 netip.Prefix `json:"overlay4"`
	Overlay6 netip.Prefix `json:"overlay6"`
	Zone     string       `json:"zone"`
	// Issuer is the embedded provider's URL at the last start.
	Issuer        string        `json:"issuer"`
	LoginLifetime time.Duration `json:"login_lifetime"`
	TokenLifetime time.Duration `json:"token_lifetime"`
	MaxMapAge     time.Duration `json:"max_map_age"`
	// LoginGrace is how much longer than a rule's max_token_age a login may be silent.
	LoginGrace time.Duration `json:"login_grace"`
}

// Key returns the private key that signs maps.
func (s Settings) Key() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(s.MapKey) }

const defaultLoginGrace = 10 * time.Minute

const settingsKey = "settings"

// Settings returns the settings, which are drawn when there are none.
func (s *Store) Settings(ctx context.Context) (Settings, error) {
	var out Settings
	err := s.Tx(ctx, func(q *Queries) error {
		b, err := q.setting(ctx, settingsKey)
		if errors.Is(err, ErrNotFound) {
			out = newSettings()
			return q.PutSettings(ctx, out)
		}
		if err != nil {
			return err
		}
		return json.Unmarshal(b, &out)
	})
	if err != nil {
		return out, fmt.Errorf("read the settings: %w", err)
	}
	if out.LoginGrace == 0 { // settings of before there was one
		out.LoginGrace = defaultLoginGrace
	}
	return out, nil
}

func newSettings() Settings {
	secret := make([]byte, ed25519.SeedSize+32)
	rand.Read(secret)
	// A ULA /48 (RFC 4193 §3.2.2): fd and 40 random bits.
	ula := [16]byte{0: 0xfd}
	rand.Read(ula[1:6])
	return Settings{
		Network: api.NewID("n"), Name: "Lanyard",
		MapKey: secret[:ed25519.SeedSize], FlowKey: secret[ed25519.SeedSize:],
		Overlay4: netip.MustParsePrefix("100.110.0.0/16"), Overlay6: netip.PrefixFrom(netip.AddrFrom16(ula), 48),
		Zone: "lanyard.internal", LoginLifetime: 24 * time.Hour, TokenLifetime: time.Hour, MaxMapAge: 24 * time.Hour,
		LoginGrace: defaultLoginGrace,
	}
}

// PutSettings stores the settings.
func (s *Queries) PutSettings(ctx context.Context, v Settings) error {
	return s.putSetting(ctx, settingsKey, []byte(text(v)))
}

func (s *Queries) setting(ctx context.Context, key string) ([]byte, error) {
	var b []byte
	return b, notFound(s.q.QueryRowContext(ctx, `SELECT value FROM settings WHERE key = ?`, key).Scan(&b))
}

func (s *Queries) putSetting(ctx context.Context, key string, value []byte) error {
	_, err := s.q.ExecContext(ctx, `INSERT INTO settings(key, value) VALUES(?,?) ON CONFLICT(key) DO UPDATE SET value = excluded.value`, key, value)
	return err
}

// Clock is the epoch and the newest version of all maps.
type Clock struct {
	Epoch   uint64 `json:"epoch"`
	Version uint64 `json:"version"`
}

// Clock returns the newest epoch and version.
func (s *Queries) Clock(ctx context.Context) (c Clock, err error) {
	b, err := s.setting(ctx, "clock")
	if errors.Is(err, ErrNotFound) {
		return Clock{Epoch: 1}, nil
	}
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(b, &c)
}

// PutClock stores the newest epoch and version.
func (s *Queries) PutClock(ctx context.Context, c Clock) error {
	return s.putSetting(ctx, "clock", []byte(text(c)))
}

// Setup is the one-time secret for the first administrator, kept as a hash.
type Setup struct {
	Hash    []byte    `json:"hash"`
	Expires time.Time `json:"expires"`
	Done    bool      `json:"done"`
}

// Setup returns the state of the first-administrator secret.
func (s *Queries) Setup(ctx context.Context) (v Setup, err error) {
	b, err := s.setting(ctx, "setup")
	if errors.Is(err, ErrNotFound) {
		return v, nil
	}
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(b, &v)
}

// PutSetup stores the hash of a new secret until expires, or that the setup is done (an empty secret).
func (s *Queries) PutSetup(ctx context.Context, secret string, expires time.Time) error {
	v := Setup{Expires: expires, Done: secret == ""}
	if secret != "" {
		v.Hash = hashSecret(secret)
	}
	return s.putSetting(ctx, "setup", []byte(text(v)))
}

// Matches reports whether secret is the one that was drawn and is still good.
func (v Setup) Matches(secret string, now time.Time) bool {
	return !v.Done && len(v.Hash) > 0 && now.Before(v.Expires) && string(hashSecret(secret)) == string(v.Hash)
}

// SawIssuerKeys notes the keys that an issuer publishes now and returns those that it published after since but
// no longer does.
func (s *Queries) SawIssuerKeys(ctx context.Context, issuer string, published map[string]json.RawMessage, since time.Time) ([]json.RawMessage, error) {
	for kid, jwk := range published {
		_, err := s.q.ExecContext(ctx, `INSERT INTO issuer_keys(issuer, kid, jwk, last_seen) VALUES(?,?,?,?)
			ON CONFLICT(issuer, kid) DO UPDATE SET jwk = excluded.jwk, last_seen = excluded.last_seen`, issuer, kid, string(jwk), ms(s.now()))
		if err != nil {
			return nil, err
		}
	}
	return s.WithdrawnIssuerKeys(ctx, issuer, published, since)
}

// WithdrawnIssuerKeys lists the keys that an issuer published after since and that are not among those of published.
func (s *Queries) WithdrawnIssuerKeys(ctx context.Context, issuer string, published map[string]json.RawMessage, since time.Time) ([]json.RawMessage, error) {
	type key struct {
		kid string
		jwk json.RawMessage
	}
	rows, err := s.q.QueryContext(ctx, `SELECT kid, jwk FROM issuer_keys WHERE issuer = ? AND last_seen > ? ORDER BY kid`, issuer, ms(since))
	known, err := collect(rows, err, func(r interface{ Scan(...any) error }) (k key, err error) {
		var jwk string
		err = r.Scan(&k.kid, &jwk)
		k.jwk = json.RawMessage(jwk)
		return k, err
	})
	if err != nil {
		return nil, err
	}
	withdrawn := []json.RawMessage{}
	for _, k := range known {
		if _, ok := published[k.kid]; !ok {
			withdrawn = append(withdrawn, k.jwk)
		}
	}
	return withdrawn, nil
}
