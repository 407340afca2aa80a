package token

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"lanyard/mgmt/api/proof/jws"
	"lanyard/mgmt/api/reason"
)

// typRenewal is the typ of a renewal's JWS header: it is never taken for an ID token, nor one for it (RFC 8725 §3.11).
const typRenewal = "lanyard-renewal+jwt"

// Renewal is the management server's word, signed with the map key, that it has seen a token of the issuer's that is
// younger than the bound one, and a proof by the login's key beside it. Some providers refresh without a nonce
// (Keycloak 25 and later, Okta, Google): such a token goes to the management server only, and this stands in for it.
type Renewal struct {
	Issuer, Subject string
	Thumbprint      string // of the login key
	Login           string // LoginID
	Key             string // KeyID of the issuer's key that signed the token
	// Issued and Expires are the token's, Issued corrected for a provider that backdates.
	Issued, Expires time.Time
	Email, Name     string
	EmailVerified   bool
	Groups          []string
}

// LoginID names one login: the hash of its bound token.
func LoginID(bound string) string {
	sum := sha256.Sum256([]byte(bound))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

type renewalClaims struct {
	Iss           string   `json:"iss"`
	Sub           string   `json:"sub"`
	Thumbprint    string   `json:"tp"`
	Login         string   `json:"login"`
	Key           string   `json:"key"`
	Iat           int64    `json:"iat"`
	Exp           int64    `json:"exp"`
	Email         string   `json:"email,omitempty"`
	EmailVerified bool     `json:"email_verified,omitempty"`
	Name          string   `json:"name,omitempty"`
	Groups        []string `json:"groups,omitempty"`
}

var renewalNames = []string{"iss", "sub", "tp", "login", "key", "iat", "exp", "email", "email_verified", "name", "groups"}

// SignRenewal makes the compact JWS.
func SignRenewal(mapKey ed25519.PrivateKey, r Renewal) (string, error) {
	body, err := json.Marshal(renewalClaims{
		Iss: r.Issuer, Sub: r.Subject, Thumbprint: r.Thumbprint, Login: r.Login, Key: r.Key, Iat: r.Issued.Unix(), Exp: r.Expires.Unix(),
		Email: r.Email, EmailVerified: r.EmailVerified, Name: r.Name, Groups: r.Groups,
	})
	if err != nil {
		return "", fmt.Errorf("sign a renewal: %w", err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	input := b64([]byte(`{"alg":"EdDSA","typ":"`+typRenewal+`"}`)) + "." + b64(body)
	raw := input + "." + b64(ed25519.Sign(mapKey, []byte(input)))
	if len(raw) > MaxTokenSize {
		return "", fmt.Errorf("sign a renewal: it is longer than %d bytes; have the provider send fewer groups", MaxTokenSize)
	}
	return raw, nil
}

// IsRenewal reports whether raw claims to be a renewal and not a token.
func IsRenewal(raw string) bool {
	head, _, _ := strings.Cut(raw, ".")
	if len(head) > MaxTokenSize {
		return false
	}
	b, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		return false
	}
	h, err := jws.ParseObject(b, []string{"typ"})
	if err != nil {
		return false
	}
	typ, _ := h.String("typ")
	return typ == typRenewal
}

// parseRenewal reads a renewal without verifying it.
func parseRenewal(raw string) (*jws.Message, *claims, jws.Object, error) {
	m, err := jws.Parse(raw, MaxTokenSize, renewalNames)
	if err != nil {
		return nil, nil, nil, malformed("the renewal cannot be read: %v", err)
	}
	for name := range m.Header {
		if name != "alg" && name != "typ" {
			return nil, nil, nil, malformed("the renewal's header has %q", name)
		}
	}
	alg, err1 := m.Header.String("alg")
	typ, err2 := m.Header.String("typ")
	if errors.Join(err1, err2) != nil || alg != "EdDSA" || typ != typRenewal {
		return nil, nil, nil, malformed("the renewal's header is not one")
	}
	o, c := m.Claims, &claims{exact: true}
	var errs []error
	text := func(to *string, name string) {
		v, err := o.String(name)
		*to, errs = v, append(errs, err)
	}
	text(&c.iss, "iss")
	text(&c.sub, "sub")
	text(&c.key, "key")
	text(&c.email, "email")
	text(&c.name, "name")
	var err3, err4, err5, err6 error
	c.iat, err3 = o.Time("iat")
	c.exp, err4 = o.Time("exp")
	c.emailVerified, err5 = o.Bool("email_verified")
	c.groups, err6 = o.Strings("groups")
	if err := errors.Join(append(errs, err3, err4, err5, err6)...); err != nil {
		return nil, nil, nil, malformed("the renewal: %v", err)
	}
	if c.iss == "" || c.sub == "" || c.iat.IsZero() || c.exp.IsZero() {
		return nil, nil, nil, malformed("the renewal lacks iss, sub, iat or exp")
	}
	return m, c, o, nil
}

// readRenewal verifies a renewal, which must be for the same person, login and key as the bound token.
func (t *Trust) readRenewal(raw string, bound *claims, boundRaw, thumbprint string) (*claims, error) {
	m, c, o, err := parseRenewal(raw)
	if err != nil {
		return nil, err
	}
	if len(t.MapKey) != ed25519.PublicKeySize || !ed25519.Verify(t.MapKey, []byte(m.Input), m.Signature) {
		return nil, reason.Errorf(reason.Signature, "the renewal is not signed by the management server")
	}
	tp, err1 := o.String("tp")
	login, err2 := o.String("login")
	switch {
	case errors.Join(err1, err2) != nil:
		return nil, malformed("the renewal's tp or login is not a text")
	case c.iss != bound.iss:
		return nil, reason.Errorf(reason.KeyMismatch, "the renewal is of another issuer")
	case c.sub != bound.sub:
		return nil, reason.Errorf(reason.KeyMismatch, "the renewal is of another subject")
	case tp != thumbprint:
		return nil, reason.Errorf(reason.KeyMismatch, "the renewal is for another key")
	case login != LoginID(boundRaw):
		return nil, reason.Errorf(reason.KeyMismatch, "the renewal is for another login")
	}
	c.issuer = bound.issuer
	if c.issuer.distrusted[c.key] {
		return nil, reason.Errorf(reason.Distrusted, "key %s of issuer %q is distrusted", c.key, c.issuer.URL)
	}
	if err := t.Limits.allowKey(c.issuer, c.key); err != nil {
		return nil, err
	}
	return c, nil
}

func peekRenewal(raw string) (Claims, error) {
	_, c, _, err := parseRenewal(raw)
	if err != nil {
		return Claims{}, err
	}
	return Claims{Issuer: c.iss, Subject: c.sub, Email: c.email, Name: c.name, IssuedAt: c.iat, Expires: c.exp}, nil
}

// Renewal is what the management server signs for an identity that VerifyRefreshed gave it.
func (id *Identity) Renewal(bound string) Renewal {
	return Renewal{
		Issuer: id.Issuer, Subject: id.Subject, Thumbprint: id.Thumbprint, Login: LoginID(bound), Key: id.KeyIDs[len(id.KeyIDs)-1],
		Issued: id.IssuedAt, Expires: id.Expires, Email: id.Email, EmailVerified: id.EmailVerified, Name: id.Name, Groups: id.Groups,
	}
}
