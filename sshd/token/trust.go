package token

import (
	"cmp"
	"crypto/ed25519"
	"fmt"
	"slices"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
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
	// Session: the client's tokens are of the session kind, each good for one SSH session (VerifySession).
	Session bool
	// LoginLifetime is how long a bound token may stand behind a login; 0: DefaultLoginLifetime.
	LoginLifetime time.Duration
	// IATBackdate is what the provider subtracts from iat; counts for ages only, at most MaxIATBackdate.
	IATBackdate time.Duration
	Keys        *KeySet // published
	Withdrawn   *KeySet // no longer published: they verify bound tokens only. May be nil
	// EmailDomains are those that the administrator assigned to this issuer.
	EmailDomains []string
	// GroupsClaim has the person's groups; empty: "groups".
	GroupsClaim string

	distrusted    map[string]bool // by KeyID
	distrustedKID map[string]bool
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
	// MapKey signs renewals. Without it none is believed.
	MapKey ed25519.PublicKey
	// Limits are the machine's own, which no map widens. nil: none.
	Limits *Limits
}

// Limits narrow down what a map says of issuers.
type Limits struct{ Issuers []IssuerLimit }

// IssuerLimit is an issuer that a machine's own limits let in.
type IssuerLimit struct {
	URL           string
	ClientID      string        // empty: the map's
	Keys          []string      // KeyIDs; empty: those of the map
	LoginLifetime time.Duration // the longest; 0: DefaultLoginLifetime
}

func (l *Limits) find(is *Issuer) *IssuerLimit {
	for i := range l.Issuers {
		if x := &l.Issuers[i]; x.URL == is.URL && (x.ClientID == "" || x.ClientID == is.ClientID) {
			return x
		}
	}
	return nil
}

func (l *Limits) allow(is *Issuer) error {
	if l != nil && l.find(is) == nil {
		return reason.Errorf(reason.Limits, "the machine's limits do not name issuer %q", is.URL)
	}
	return nil
}

func (l *Limits) allowKey(is *Issuer, id string) error {
	if l == nil {
		return nil
	}
	if x := l.find(is); x == nil || len(x.Keys) > 0 && !slices.Contains(x.Keys, id) {
		return reason.Errorf(reason.Limits, "the machine's limits do not name the key %s of issuer %q", id, is.URL)
	}
	return nil
}

// lifetime is how long a login of is lasts.
func (l *Limits) lifetime(is *Issuer) time.Duration {
	life := is.LoginLifetime
	if life <= 0 {
		life = DefaultLoginLifetime
	}
	if l == nil {
		return life
	}
	if x := l.find(is); x != nil {
		return min(life, cmp.Or(x.LoginLifetime, DefaultLoginLifetime))
	}
	return life
}

// Stands checks an identity of a session that is open against a newer trust: its issuer is still one, and the keys
// that vouched for it were not distrusted. That a key was withdrawn since changes nothing.
func (t *Trust) Stands(id *Identity) error {
	for i := range t.Issuers {
		is := &t.Issuers[i]
		if is.URL != id.Issuer || is.ClientID != id.ClientID {
			continue
		}
		if err := t.Limits.allow(is); err != nil {
			return err
		}
		for _, k := range id.KeyIDs {
			if is.distrusted[k] {
				return reason.Errorf(reason.Distrusted, "key %s of issuer %q is distrusted", k, is.URL)
			}
			if err := t.Limits.allowKey(is, k); err != nil {
				return err
			}
		}
		return nil
	}
	return reason.Errorf(reason.Issuer, "issuer %q is not trusted any more", id.Issuer)
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
	// ClientID is the one of the issuer's that the sign-in was made for; KeyIDs are the issuer's keys that vouch for it.
	ClientID string
	KeyIDs   []string
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
		add := Issuer{
			URL: is.URL, ClientID: is.ClientID,
			LoginLifetime: is.LoginLifetime.Duration(), IATBackdate: is.IATBackdate.Duration(),
			EmailDomains: is.EmailDomains, GroupsClaim: is.GroupsClaim,
			distrusted: map[string]bool{}, distrustedKID: map[string]bool{},
		}
		for _, d := range is.Distrusted {
			add.distrusted[d.ID], add.distrustedKID[d.KID] = true, true
		}
		add.Keys, add.Withdrawn = keys.without(add.distrusted), withdrawn.without(add.distrusted)
		t.Issuers = append(t.Issuers, add)
		if add.ClientID = is.DeviceClientID; add.ClientID != "" {
			t.Issuers = append(t.Issuers, add)
		}
		if add.ClientID, add.Session = is.SessionClientID, true; add.ClientID != "" {
			t.Issuers = append(t.Issuers, add)
		}
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
