package token

import (
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api/reason"
)

// VerifyCertificate checks a certificate that a client offers and says who it is.
func (t *Trust) VerifyCertificate(c *ssh.Certificate, now time.Time) (*Identity, error) {
	return nil, reason.Errorf(reason.Internal, "not built yet")
}

// VerifyTokens makes the same checks for tokens that come without a certificate, beside a proof by the key.
func (t *Trust) VerifyTokens(wireKey, salt []byte, bound, fresh string, now time.Time) (*Identity, error) {
	return nil, reason.Errorf(reason.Internal, "not built yet")
}

// Claims is what a client may know of its own token without verifying it.
type Claims struct {
	Issuer, Subject, Email, Name, Nonce string
	IssuedAt, Expires                   time.Time
}

// Peek reads a token without verifying it, for clients that decide when to refresh their own. Never trust it.
func Peek(raw string) (Claims, error) { return Claims{}, reason.Errorf(reason.Internal, "not built yet") }
