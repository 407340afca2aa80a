package token

import (
	"bytes"
	"crypto/subtle"
	"encoding/binary"
	"math"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api/proof/jws"
	"lanyard/mgmt/api/reason"
)

// VerifyCertificate checks a certificate that a client offers and says who it is. Whether the client has the
// key is the SSH handshake's question, not this one's.
func (t *Trust) VerifyCertificate(c *ssh.Certificate, now time.Time) (*Identity, error) {
	if c == nil || c.Extensions[ExtIDToken] == "" {
		return nil, reason.Errorf(reason.TokenMissing, "the key is without a token")
	}
	switch {
	case c.Key == nil || c.Key.Type() != ssh.KeyAlgoED25519:
		return nil, malformed("the certificate is not for an ed25519 key")
	case c.CertType != ssh.UserCert:
		return nil, malformed("the certificate is not a user certificate")
	case len(c.CriticalOptions) != 0:
		return nil, malformed("the certificate has critical options")
	}
	// Principals, key id, serial, times and permit-* are the client's own words: they grant nothing.
	wireKey := c.Key.Marshal()
	if c.SignatureKey == nil || !bytes.Equal(c.SignatureKey.Marshal(), wireKey) {
		return nil, malformed("the certificate is signed by another key")
	}
	if c.Signature == nil || c.Key.Verify(signedBytes(c), c.Signature) != nil {
		return nil, malformed("the certificate's own signature is wrong")
	}
	fresh, hasFresh := c.Extensions[ExtFresh]
	renewal, hasRenewal := c.Extensions[ExtRenewal]
	switch {
	case hasFresh && hasRenewal:
		return nil, malformed("the certificate has a fresh token and a renewal")
	case hasFresh && fresh == "" || hasRenewal && renewal == "":
		return nil, malformed("the certificate's fresh token or renewal is empty")
	case hasFresh && IsRenewal(fresh) || hasRenewal && !IsRenewal(renewal):
		return nil, malformed("the certificate has a fresh token for a renewal, or the other way round")
	case hasRenewal:
		fresh = renewal
	}
	return t.VerifyTokens(wireKey, []byte(c.Extensions[ExtSalt]), c.Extensions[ExtIDToken], fresh, now)
}

// signedBytes is what a certificate's signature is over: all but the signature (PROTOCOL.certkeys).
func signedBytes(c *ssh.Certificate) []byte {
	unsigned := *c
	unsigned.Signature = nil
	b := unsigned.Marshal()
	return b[:len(b)-4] // without the length of the absent signature
}

// VerifyTokens makes the same checks for tokens that come without a certificate, beside a proof by the key
// (api/proof). Fresh may be empty, or a renewal.
func (t *Trust) VerifyTokens(wireKey, salt []byte, bound, fresh string, now time.Time) (*Identity, error) {
	return t.verify(wireKey, salt, bound, fresh, false, now)
}

// VerifyRefreshed is VerifyTokens for a refreshed token that need not have a nonce. Such a token says nothing of the
// key, so only the management server asks this, of whoever has just proven to have the key, and makes a renewal of it.
func (t *Trust) VerifyRefreshed(wireKey, salt []byte, bound, refreshed string, now time.Time) (*Identity, error) {
	return t.verify(wireKey, salt, bound, refreshed, true, now)
}

func (t *Trust) verify(wireKey, salt []byte, bound, fresh string, unbound bool, now time.Time) (*Identity, error) {
	if len(salt) != SaltSize {
		return nil, malformed("the salt has %d bytes instead of %d", len(salt), SaltSize)
	}
	if now.Before(t.MapTime) {
		now = t.MapTime
	}
	b, err := t.read(bound, true)
	if err != nil {
		return nil, err
	}
	// The nonce ties the token to this key. It covers the salt, so equal times tell nothing of use; constant
	// time costs nothing.
	want := Nonce(salt, wireKey)
	if subtle.ConstantTimeCompare([]byte(b.nonce), []byte(want)) != 1 {
		return nil, reason.Errorf(reason.KeyMismatch, "the token's nonce was not made for this key")
	}
	if err := CheckBegan(salt, b.iat); err != nil {
		return nil, err
	}
	newest := b
	if fresh != "" {
		var f *claims
		if IsRenewal(fresh) {
			f, err = t.readRenewal(fresh, b, bound, Thumbprint(wireKey))
		} else {
			f, err = t.readFresh(fresh, b, unbound)
		}
		if err != nil {
			return nil, err
		}
		if !f.iat.Before(b.iat) {
			newest = f
		}
	}
	id := identity(b, newest, t.Limits.lifetime(b.issuer), now)
	id.Thumbprint = Thumbprint(wireKey)
	if t.RevokedKeys[id.Thumbprint] {
		return nil, reason.Errorf(reason.Revoked, "the login was ended")
	}
	if t.NotBefore != nil {
		if nb := t.NotBefore(b.iss, b.sub); b.iat.Before(nb) {
			return nil, reason.Errorf(reason.Revoked, "all logins of the person before %s were ended", nb.UTC().Format(time.RFC3339))
		}
	}
	if err := checkTimes(b, newest, id, now); err != nil {
		return nil, err
	}
	return id, nil
}

// How far a bound token's iat may lie from the time in its salt: a person has five minutes to sign in, with a code
// fifteen; providers write an iat of up to ten minutes ago; clocks differ.
const (
	beforeBegan = MaxIATBackdate + 5*time.Minute
	afterBegan  = 20 * time.Minute
)

// CheckBegan reports why a token that was issued then is not that of the login that began with this salt. Providers that
// keep the nonce when they refresh would else have each refreshed token pass for a new login's.
func CheckBegan(salt []byte, issued time.Time) error {
	began := binary.BigEndian.Uint64(salt)
	if began > math.MaxInt32<<8 { // no time of this age
		return malformed("the salt does not say when the login began")
	}
	switch after := issued.Sub(time.Unix(int64(began), 0)); {
	case after > afterBegan:
		return reason.Errorf(reason.KeyMismatch, "the token came %s after its login began: it is a refreshed one", after.Round(time.Second))
	case after < -beforeBegan:
		return reason.Errorf(reason.ClockSkew, "the token came %s before its login began", (-after).Round(time.Second))
	}
	return nil
}

// readFresh reads a refreshed token, which must be of the same person, issuer and login as the bound one, and
// verified by a key that is published now.
func (t *Trust) readFresh(raw string, bound *claims, unbound bool) (*claims, error) {
	f, err := t.read(raw, false)
	switch {
	case err != nil:
		return nil, err
	case f.iss != bound.iss:
		return nil, reason.Errorf(reason.KeyMismatch, "the fresh token is of another issuer")
	case f.sub != bound.sub:
		return nil, reason.Errorf(reason.KeyMismatch, "the fresh token is of another subject")
	case f.nonce != bound.nonce && (f.nonce != "" || !unbound):
		return nil, reason.Errorf(reason.KeyMismatch, "the fresh token has another nonce")
	}
	return f, nil
}

// checkTimes: OpenID Connect Core §3.1.3.7 steps 9 to 11, with Leeway. A bound token that has a newer one beside
// it may be past its exp: it stands for the login, the newer one for its being alive.
func checkTimes(b, newest *claims, id *Identity, now time.Time) error {
	latest := now.Add(Leeway)
	for _, c := range []*claims{b, newest} {
		if c.iat.After(latest) || c.nbf.After(latest) {
			return reason.Errorf(reason.ClockSkew, "the token is of the future: iat %s, nbf %s, now %s",
				c.iat.UTC().Format(time.RFC3339), c.nbf.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		}
	}
	if !now.Before(id.LoginExpires) {
		return reason.Errorf(reason.LoginExpired, "the login ended at %s", id.LoginExpires.UTC().Format(time.RFC3339))
	}
	if !now.Before(newest.exp.Add(Leeway)) {
		return reason.Errorf(reason.TokenExpired, "the token expired at %s", newest.exp.UTC().Format(time.RFC3339))
	}
	return nil
}

func identity(b, newest *claims, lifetime time.Duration, now time.Time) *Identity {
	is := b.issuer
	backdate := min(max(is.IATBackdate, 0), MaxIATBackdate)
	issued := newest.iat.Add(backdate)
	if newest.exact {
		issued = newest.iat
	}
	if issued.After(now) {
		issued = newest.iat
		if issued.Before(now) {
			issued = now
		}
	}
	keys := []string{b.key}
	if newest.key != "" && newest.key != b.key {
		keys = append(keys, newest.key)
	}
	return &Identity{
		ClientID: is.ClientID, KeyIDs: keys,
		Issuer: b.iss, Subject: b.sub,
		Email: newest.email, EmailVerified: newest.emailVerified, Name: newest.name, Groups: newest.groups,
		EmailDomainOK: emailDomainOK(newest.email, is.EmailDomains),
		AMR:           b.amr, ACR: b.acr, AuthTime: b.authTime,
		BoundAt: b.iat, IssuedAt: issued, Expires: newest.exp, LoginExpires: b.iat.Add(backdate + lifetime),
	}
}

func emailDomainOK(email string, domains []string) bool {
	local, domain, ok := strings.Cut(email, "@")
	if !ok || local == "" || domain == "" || strings.Contains(domain, "@") {
		return false
	}
	for _, d := range domains {
		if strings.EqualFold(d, domain) {
			return true
		}
	}
	return false
}

// Claims is what a client may know of its own token without verifying it.
type Claims struct {
	Issuer, Subject, Email, Name, Nonce string
	IssuedAt, Expires                   time.Time
}

// Peek reads a token without verifying it, for clients that decide when to refresh their own. Never trust it.
func Peek(raw string) (Claims, error) {
	if IsRenewal(raw) {
		return peekRenewal(raw)
	}
	m, err := jws.Parse(raw, MaxTokenSize, claimNames)
	if err != nil {
		return Claims{}, malformed("the token cannot be read: %v", err)
	}
	c, err := parseClaims(m.Claims)
	if err != nil {
		return Claims{}, err
	}
	return Claims{
		Issuer: c.iss, Subject: c.sub, Email: c.email, Name: c.name, Nonce: c.nonce, IssuedAt: c.iat, Expires: c.exp,
	}, nil
}
