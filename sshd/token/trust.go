package token

import (
	"fmt"
	"time"

	"lanyard/mgmt/api"
)

// Limits of an issuer's settings.
const (
	DefaultLoginLifetime = 24 * time.Hour
	// MaxIATBackdate bounds what a provider's backdating of iat may forgive.
	MaxIATBackdate = 10 * time.Minute
	// Leeway is how far clocks may differ.
	Leeway = 60 * time.Second
)

// Issuer is an OpenID provider that is trusted, with its keys.
type Issuer struct {
	URL      string // compared with `iss` byte for byte
	ClientID string
	// LoginLifetime is how long a bound token may stand behind a login; 0: DefaultLoginLifetime.
	LoginLifetime time.Duration
	// IATBackdate is what the provider subtracts from iat; counts for ages only, at most MaxIATBackdate.
	IATBackdate time.Duration
	Keys        *KeySet // published
	Withdrawn   *KeySet // no longer published: they verify bound tokens only. May be nil
	// EmailDomains are those that the administrator assigned to this issuer.
	EmailDomains []string
}

// Trust is what a verifier believes: issuers with their keys, and what was revoked. It is read only after it
// was made, so several goroutines may use it.
type Trust struct {
	Issuers     []Issuer
	RevokedKeys map[string]bool // thumbprints of login keys
	// NotBefore returns the time before which the person's logins ended, or zero. May be nil.
	NotBefore func(iss, sub string) time.Time
	// MapTime is the newest map's issue time: it is never earlier than that.
	MapTime time.Time
}

// Identity is what a verified certificate says of a person.
type Identity struct {
	Issuer, Subject string
	// Email, EmailVerified, Name and Groups are the newest token's. Groups are of Issuer.
	Email, Name   string
	EmailVerified bool
	// EmailDomainOK: Email's domain is one that the administrator assigned to the issuer.
	EmailDomainOK bool
	Groups        []string
	// AMR, ACR and AuthTime are the bound token's.
	AMR      []string
	ACR      string
	AuthTime time.Time
	// BoundAt is the bound token's iat as it stands. IssuedAt is the newest token's iat, corrected for a
	// provider that backdates.
	BoundAt, IssuedAt time.Time
	Expires           time.Time // the newest token's exp
	LoginExpires      time.Time // when the login's lifetime ends
	Thumbprint        string    // of the login key
}

// User names the person for policies.
func (id *Identity) User() api.UserRef { return api.UserRef{Issuer: id.Issuer, Subject: id.Subject} }

// GroupRefs names the token's groups for policies.
func (id *Identity) GroupRefs() []api.GroupRef {
	refs := make([]api.GroupRef, len(id.Groups))
	for i, g := range id.Groups {
		refs[i] = api.GroupRef{Issuer: id.Issuer, Name: g}
	}
	return refs
}

// TrustFromMap makes the trust that a network map describes.
func TrustFromMap(m *api.Map) (*Trust, error) {
	t := &Trust{RevokedKeys: make(map[string]bool, len(m.RevokedKeys)), MapTime: m.IssuedAt}
	for _, is := range m.Issuers {
		keys, err := ParseKeySet(is.Keys)
		if err != nil {
			return nil, fmt.Errorf("read the keys of issuer %q: %w", is.URL, err)
		}
		withdrawn, err := ParseKeySet(is.Withdrawn)
		if err != nil {
			return nil, fmt.Errorf("read the withdrawn keys of issuer %q: %w", is.URL, err)
		}
		t.Issuers = append(t.Issuers, Issuer{
			URL: is.URL, ClientID: is.ClientID,
			LoginLifetime: is.LoginLifetime.Duration(), IATBackdate: is.IATBackdate.Duration(),
			Keys: keys, Withdrawn: withdrawn, EmailDomains: is.EmailDomains,
		})
	}
	for _, tp := range m.RevokedKeys {
		t.RevokedKeys[tp] = true
	}
	notBefore := make(map[api.UserRef]time.Time)
	for _, u := range m.Users {
		if !u.NotBefore.IsZero() {
			notBefore[u.UserRef] = u.NotBefore
		}
	}
	t.NotBefore = func(iss, sub string) time.Time { return notBefore[api.UserRef{Issuer: iss, Subject: sub}] }
	return t, nil
}
