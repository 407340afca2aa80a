package token

import (
	"crypto/subtle"
	"time"

	"lanyard/mgmt/api/reason"
)

// SessionLife is how long after a sign-in of the session kind its SSH session must begin.
const SessionLife = 5 * time.Minute

// Session is what a sign-in of the session kind is bound to: one SSH connection and nothing else.
type Session struct {
	ID        []byte // SSH session identifier (RFC 4253 §7.2)
	HostKey   []byte // of the server peer, SSH wire form
	LocalUser string // as the client asked for it
	Server    string // id of the server peer
	Source    string // id of the source peer
	Salt      []byte // SaltSize bytes
}

// Nonce is what the provider signs.
func (s Session) Nonce() string {
	return SessionNonce(s.ID, s.HostKey, s.LocalUser, s.Server, s.Source, s.Salt)
}

// VerifySession checks the token of a sign-in for one SSH session. That it is used once is the caller's business: it
// must have drawn the salt for this session and take one token for it. A token of a login is never taken here, nor
// one of these in a certificate: their clients and their nonces differ.
func (t *Trust) VerifySession(s Session, raw string, now time.Time) (*Identity, error) {
	if len(s.Salt) != SaltSize || len(s.ID) < 16 {
		return nil, malformed("the session to sign in for has no salt or no id")
	}
	if now.Before(t.MapTime) {
		now = t.MapTime
	}
	c, err := t.readOf(raw, false, true)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare([]byte(c.nonce), []byte(s.Nonce())) != 1 {
		return nil, reason.Errorf(reason.KeyMismatch, "the token's nonce was not made for this session")
	}
	id := identity(c, c, t.Limits.lifetime(c.issuer), now)
	if t.NotBefore != nil {
		if nb := t.NotBefore(c.iss, c.sub); c.iat.Before(nb) {
			return nil, reason.Errorf(reason.Revoked, "all logins of the person before %s were ended", nb.UTC().Format(time.RFC3339))
		}
	}
	if err := checkTimes(c, c, id, now); err != nil {
		return nil, err
	}
	if now.Sub(id.IssuedAt) > SessionLife+Leeway {
		return nil, reason.Errorf(reason.TokenExpired, "the sign-in was made at %s", c.iat.UTC().Format(time.RFC3339))
	}
	return id, nil
}
