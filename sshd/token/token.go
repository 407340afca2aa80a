// Package token is the heart of Lanyard: an ID token that is bound to one SSH key, inside a certificate that
// the key signed itself.
//
// At login a client makes a new ed25519 key K and a salt, which is the time and random bytes, and asks its OpenID
// provider for an ID token whose nonce is a hash of both (Nonce). The provider so signs K, and when the login began, into
// the token. Mint wraps token and salt in an
// OpenSSH user certificate for K, signed by K, that any stock ssh can offer. A server that knows the provider's
// published keys (Trust) checks the certificate without asking anybody (VerifyCertificate). The token is
// useless without K, so a server that saw it cannot use it elsewhere.
//
// The bound token proves who signed in and stays the same for the login's lifetime. A refreshed token with the
// same nonce, issuer and subject may accompany it and proves that the login is still alive. Where a provider refreshes
// without the nonce, the management server's word stands in (Renewal): a token without it would open doors for whoever
// saw it.
//
// All functions are pure: no network, no files, the clock is an argument. Errors of the Verify functions are
// *reason.Error.
package token

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/crypto/ssh"
)

// Names of the certificate's extensions.
const (
	ExtIDToken = "id-token@lanyard"    // the bound ID token, compact JWS
	ExtSalt    = "salt@lanyard"        // the salt of the nonce, SaltSize bytes, see NewKey
	ExtFresh   = "fresh-token@lanyard" // a refreshed ID token with the same nonce; optional
	ExtRenewal = "renewal@lanyard"     // in its place, where the provider refreshes without a nonce
)

// Labels that begin what a nonce hashes, one per kind of sign-in.
const (
	NonceLabel        = "lanyard-ssh-id v1"      // kind login: a certificate
	SessionNonceLabel = "lanyard-ssh-session v1" // kind session: one SSH session, never in a certificate
)

const (
	// SaltSize is the length of a salt in bytes.
	SaltSize = 32
	// MaxTokenSize is the longest token that is looked at, in bytes.
	MaxTokenSize = 16 << 10
)

// Nonce is the nonce of a login's OpenID request: base64url(SHA-256(label || 0 || salt || key)), with the key
// in SSH wire form (RFC 8709 §4).
func Nonce(salt, wireKey []byte) string {
	h := sha256.New()
	h.Write([]byte(NonceLabel))
	h.Write([]byte{0})
	h.Write(salt)
	h.Write(wireKey)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// SessionNonce is the nonce of a sign-in for one SSH session (kind session). Each part is preceded by its
// length as a 32-bit big-endian number, so that no two lists of parts hash alike.
func SessionNonce(sessionID, hostKey []byte, localUser, serverPeer, sourcePeer string, salt []byte) string {
	h := sha256.New()
	h.Write([]byte(SessionNonceLabel))
	h.Write([]byte{0})
	for _, part := range [][]byte{sessionID, hostKey, []byte(localUser), []byte(serverPeer), []byte(sourcePeer), salt} {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(part)))
		h.Write(n[:])
		h.Write(part)
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// Thumbprint names a key in revocation lists: base64url(SHA-256(key in SSH wire form)).
func Thumbprint(wireKey []byte) string {
	sum := sha256.Sum256(wireKey)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// NewKey makes the key and the salt of a login that begins now. The salt's first eight bytes are that time, in seconds
// since 1970 (big-endian), the others are random.
func NewKey(now time.Time) (ed25519.PrivateKey, []byte, error) {
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a login key: %w", err)
	}
	salt := make([]byte, SaltSize)
	rand.Read(salt) // never fails (crypto/rand since Go 1.24)
	binary.BigEndian.PutUint64(salt, uint64(now.Unix()))
	return priv, salt, nil
}

// Mint makes the certificate that OpenSSH offers: for priv, signed by priv. Fresh may be empty, or a renewal.
// It checks sizes only: whether the tokens fit the key is the server's question.
func Mint(priv ed25519.PrivateKey, salt []byte, bound, fresh string) (*ssh.Certificate, error) {
	switch {
	case len(priv) != ed25519.PrivateKeySize:
		return nil, errors.New("make a login certificate: the key is not an ed25519 key; sign in again")
	case len(salt) != SaltSize:
		return nil, fmt.Errorf("make a login certificate: the salt has %d bytes instead of %d; sign in again", len(salt), SaltSize)
	case bound == "":
		return nil, errors.New("make a login certificate: there is no ID token; sign in again")
	case len(bound) > MaxTokenSize, len(fresh) > MaxTokenSize:
		return nil, fmt.Errorf("make a login certificate: the ID token is longer than %d bytes; ask your administrator for fewer claims", MaxTokenSize)
	}
	signer, err := ssh.NewSignerFromKey(priv)
	if err != nil {
		return nil, fmt.Errorf("make a login certificate: %w", err)
	}
	ext := map[string]string{ExtIDToken: bound, ExtSalt: string(salt)}
	switch {
	case fresh == "":
	case IsRenewal(fresh):
		ext[ExtRenewal] = fresh
	default:
		ext[ExtFresh] = fresh
	}
	c := &ssh.Certificate{
		Key:      signer.PublicKey(),
		CertType: ssh.UserCert,
		KeyId:    "lanyard",
		// The tokens carry the times that count; the certificate's own say nothing.
		ValidBefore: math.MaxUint64,
		Permissions: ssh.Permissions{Extensions: ext},
	}
	if err := c.SignCert(rand.Reader, signer); err != nil {
		return nil, fmt.Errorf("sign the login certificate: %w", err)
	}
	return c, nil
}
