package token

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"lanyard/mgmt/api/proof/jws"
	"lanyard/mgmt/api/reason"
)

// algs that may sign a token (RFC 7518 §3.1, RFC 8037 §3.1). None of them takes a shared secret.
var algs = []string{"RS256", "PS256", "ES256", "ES384", "EdDSA"}

// claimNames are the claims that are looked at (RFC 7519 §4.1, OpenID Connect Core §2 and §5.1).
var claimNames = []string{
	"iss", "sub", "aud", "azp", "exp", "nbf", "iat", "nonce", "typ", "events",
	"email", "email_verified", "name", "preferred_username", "groups", "amr", "acr", "auth_time",
}

// claims are those of a token whose signature was verified.
type claims struct {
	issuer        *Issuer
	iss, sub      string
	exp, nbf, iat time.Time
	nonce         string
	email, name   string
	emailVerified bool
	groups        []string
	amr           []string
	acr           string
	authTime      time.Time
	aud           []string
	azp           string
	hasAzp        bool
	key           string // KeyID of the issuer's key that signed
	exact         bool   // iat is when it was issued, whatever the provider does to its own
}

// read reads a token of a login, see readOf.
func (t *Trust) read(raw string, withdrawn bool) (*claims, error) {
	return t.readOf(raw, withdrawn, false)
}

// readOf takes a token apart, chooses the issuer and then one of its keys, verifies the signature, and checks for
// whom the token was made: a client for logins, or the one for single sessions. Withdrawn keys count where the caller
// says so.
func (t *Trust) readOf(raw string, withdrawn, session bool) (*claims, error) {
	m, err := jws.Parse(raw, MaxTokenSize, claimNames)
	if err != nil {
		return nil, malformed("the token cannot be read: %v", err)
	}
	alg, kid, err := checkHeader(m.Header)
	if err != nil {
		return nil, err
	}
	c, err := parseClaims(m.Claims)
	if err != nil {
		return nil, err
	}
	issuers := t.issuers(c.iss, session)
	if len(issuers) == 0 {
		return nil, reason.Errorf(reason.Issuer, "issuer %q is not trusted", c.iss)
	}
	// One issuer may be configured once for each of its client ids (RFC 8252 apps and device logins differ).
	c.issuer = issuers[0]
	for _, is := range issuers {
		if slices.Contains(c.aud, is.ClientID) {
			c.issuer = is
			break
		}
	}
	if err := t.Limits.allow(c.issuer); err != nil {
		return nil, err
	}
	if err := t.verifySignature(raw, kid, alg, c, withdrawn); err != nil {
		return nil, err
	}
	if err := c.readGroups(m.Claims); err != nil {
		return nil, err
	}
	if err := checkAudience(c); err != nil {
		return nil, err
	}
	return c, nil
}

func (t *Trust) issuers(iss string, session bool) []*Issuer {
	var found []*Issuer
	for i := range t.Issuers {
		if is := &t.Issuers[i]; iss != "" && is.URL == iss && is.Session == session {
			found = append(found, is)
		}
	}
	return found
}

// checkHeader refuses headers that would let a token choose how it is verified (RFC 8725 §3).
func checkHeader(h jws.Object) (alg, kid string, err error) {
	for _, name := range []string{"crit", "jku", "jwk", "x5u", "b64"} {
		if h.Has(name) {
			return "", "", malformed("the token's header has %q", name)
		}
	}
	alg, err1 := h.String("alg")
	kid, err2 := h.String("kid")
	typ, err3 := h.String("typ")
	cty, err4 := h.String("cty")
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return "", "", malformed("the token's header: %v", err)
	}
	// An access or logout token of the same issuer, with the same keys, is no ID token (RFC 9068 §2.1,
	// OpenID Connect Back-Channel Logout §2.4).
	if typ = strings.TrimPrefix(strings.ToLower(typ), "application/"); typ != "" && typ != "jwt" && typ != "id_token+jwt" {
		return "", "", malformed("the token's typ is %q: it is not an ID token", typ)
	}
	if cty != "" {
		return "", "", malformed("the token is nested (cty %q)", cty)
	}
	if !slices.Contains(algs, alg) {
		return "", "", reason.Errorf(reason.Signature, "the token's alg is %q", alg)
	}
	if h.Has("kid") && kid == "" {
		return "", "", malformed("the token's kid is empty")
	}
	return alg, kid, nil
}

// parseClaims reads the claims' types. What they say is believed only after the signature was verified.
func parseClaims(o jws.Object) (*claims, error) {
	var errs []error
	text := func(name string) string {
		v, err := o.String(name)
		errs = append(errs, err)
		return v
	}
	list := func(name string) []string {
		v, err := o.Strings(name)
		errs = append(errs, err)
		return v
	}
	when := func(name string) time.Time {
		v, err := o.Time(name)
		errs = append(errs, err)
		return v
	}
	c := &claims{
		iss: text("iss"), sub: text("sub"), nonce: text("nonce"), azp: text("azp"), aud: list("aud"),
		exp: when("exp"), nbf: when("nbf"), iat: when("iat"), authTime: when("auth_time"),
		email: text("email"), name: text("name"), groups: list("groups"), amr: list("amr"), acr: text("acr"),
		hasAzp: o.Has("azp"),
	}
	if c.name == "" {
		c.name = text("preferred_username")
	}
	verified, err := o.Bool("email_verified")
	errs = append(errs, err)
	c.emailVerified = verified
	if err := errors.Join(errs...); err != nil {
		return nil, malformed("the token's claims: %v", err)
	}
	if o.Has("events") {
		return nil, malformed("the token has events: it is a logout or security event token")
	}
	// Keycloak tells its tokens apart by a claim, not by the header.
	switch kind, _ := o.String("typ"); strings.ToLower(kind) {
	case "bearer", "refresh", "offline", "logout":
		return nil, malformed("the token's typ claim is %q: it is not an ID token", kind)
	}
	// OpenID Connect Core §2: required, and sub of at most 255 characters.
	switch {
	case c.iss == "" || len(c.aud) == 0 || !o.Has("exp") || !o.Has("iat"):
		return nil, malformed("the token lacks iss, aud, exp or iat")
	case c.sub == "" || len(c.sub) > 255 || strings.ContainsFunc(c.sub, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return nil, malformed("the token's sub is empty, too long or has control characters")
	}
	return c, nil
}

// readGroups takes the groups from the claim that the issuer has for them, where it is not "groups". A name with dots
// is a path where the token has no claim of that whole name ("realm_access.roles").
func (c *claims) readGroups(o jws.Object) error {
	name := c.issuer.GroupsClaim
	if name == "" || name == "groups" {
		return nil
	}
	c.groups = nil
	for {
		// The claim was unknown when the token was taken apart: its case variants are looked for here.
		for other := range o {
			if other != name && strings.EqualFold(other, name) {
				return malformed("the token has the claim %q for %q", other, name)
			}
		}
		outer, rest, nested := strings.Cut(name, ".")
		if o.Has(name) || !nested {
			break
		}
		if !o.Has(outer) {
			return nil
		}
		inner, err := jws.ParseObject(o[outer], nil)
		if err != nil {
			return malformed("the token's claim %q: %v", outer, err)
		}
		o, name = inner, rest
	}
	groups, err := o.Strings(name)
	if err != nil {
		return malformed("the token's groups: %v", err)
	}
	c.groups = groups
	return nil
}

// UnknownKeyError is a refusal for want of a key of a trusted issuer: it may have made a new one. It wraps a
// *reason.Error.
type UnknownKeyError struct {
	Issuer, KID string
	err         error
}

func (e *UnknownKeyError) Error() string { return e.err.Error() }
func (e *UnknownKeyError) Unwrap() error { return e.err }

// verifySignature tries the keys that fit, which are all of the one issuer.
func (t *Trust) verifySignature(raw, kid, alg string, c *claims, withdrawn bool) error {
	is := c.issuer
	keys, several := is.Keys.fit(kid, alg, c.iat), is.Keys.Len()
	if withdrawn {
		keys = append(keys, is.Withdrawn.fit(kid, alg, c.iat)...)
		several += is.Withdrawn.Len()
	}
	if kid == "" && several > 1 {
		return reason.Errorf(reason.Signature, "the token names no key, and issuer %q has several", is.URL)
	}
	if len(keys) == 0 && is.distrustedKID[kid] {
		return reason.Errorf(reason.Distrusted, "key %q of issuer %q is distrusted", kid, is.URL)
	}
	if len(keys) == 0 {
		err := reason.Errorf(reason.Signature, "issuer %q has no key %q for %s%s", is.URL, kid, alg, is.Keys.hint())
		if kid != "" && !is.Keys.has(kid) && !is.Withdrawn.has(kid) {
			err = &UnknownKeyError{Issuer: is.URL, KID: kid, err: err}
		}
		return err
	}
	p := jwt.NewParser(jwt.WithValidMethods(algs), jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding())
	var err error
	for _, k := range keys {
		if _, err = p.ParseWithClaims(raw, &readElsewhere{}, func(*jwt.Token) (any, error) { return k.public, nil }); err == nil {
			c.key = k.id
			return t.Limits.allowKey(is, k.id)
		}
	}
	return reason.Errorf(reason.Signature, "key %q of issuer %q does not verify the token: %v", kid, is.URL, err)
}

// readElsewhere makes the JWT library verify the signature without reading the claims a second time.
type readElsewhere struct{ jwt.RegisteredClaims }

func (*readElsewhere) UnmarshalJSON([]byte) error { return nil }

// hint tells an administrator about keys that were left out.
func (s *KeySet) hint() string {
	if u := s.Unusable(); len(u) > 0 {
		return fmt.Sprintf(" (unusable: %s)", strings.Join(u, "; "))
	}
	return ""
}

// has reports whether s has a usable key of that kid.
func (s *KeySet) has(kid string) bool {
	return s != nil && slices.ContainsFunc(s.keys, func(k key) bool { return k.kid == kid })
}

// checkAudience: OpenID Connect Core §3.1.3.7, steps 3 to 5.
func checkAudience(c *claims) error {
	id := c.issuer.ClientID
	switch {
	case id == "" || !slices.Contains(c.aud, id):
		return reason.Errorf(reason.Audience, "the token is for %q, not for %q", c.aud, id)
	case len(c.aud) > 1 && !c.hasAzp:
		return reason.Errorf(reason.Audience, "the token is for several, %q, and has no azp", c.aud)
	case c.hasAzp && c.azp != id:
		return reason.Errorf(reason.Audience, "the token was given to %q, not to %q", c.azp, id)
	}
	return nil
}

func malformed(format string, args ...any) error {
	return reason.Errorf(reason.TokenMalformed, format, args...)
}
