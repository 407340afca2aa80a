// Package proof makes and checks proofs of possession for API calls, in the shape of DPoP (RFC 9449).
//
// A proof is a compact JWS, signed by the key that it carries, over the request it accompanies: method, URL,
// hash of the body, time and a random id. There are two kinds. A machine's proof is signed by its machine key.
// A login's proof is signed by the login key K, names the ID token it goes with (`ath`) and carries the salt,
// so that the server can check that the token was made for K. A token alone is accepted nowhere.
//
// The package knows no HTTP: both sides hand it the parts of the request.
package proof

import (
	"crypto/ed25519"
	"encoding/binary"
	"time"

	"lanyard/mgmt/api/reason"
)

// Types of the JWS header (RFC 8725 §3.11): one kind is never taken for the other.
const (
	TypeMachine = "lanyard-proof+jwt"
	TypeLogin   = "dpop+jwt" // RFC 9449 §4.2
)

// MaxAge is how far a proof's time and the server's clock may differ. A caller stores each JTI this long twice.
const MaxAge = 60 * time.Second

// MaxSize is the longest proof that is looked at, in bytes; a fresh token may be inside.
const MaxSize = 28 << 10

// Params is the request to prove. With an AccessToken it is a login's proof, without a machine's.
type Params struct {
	Method string
	// URL is as the client addresses it: scheme://host/path?query. Scheme and host may be left out where there
	// are none (a Unix socket).
	URL         string
	Body        []byte
	AccessToken string // the bound ID token; a login's proof
	Salt        []byte // of the token's nonce; a login's proof
	Fresh       string // the refreshed ID token, if any; a login's proof
	Subject     string // the peer's id; a machine's proof, empty before it is enrolled
	Now         time.Time
}

// Want is the request that arrived.
type Want struct {
	Method string
	// URL is path and query as they arrived; scheme and host are ignored.
	URL  string
	Body []byte
	// AccessToken is the token that came with the proof: a login's proof is wanted. Empty: a machine's.
	AccessToken string
	// Hosts are the server's own names, with port where it is not the scheme's. Empty: any.
	Hosts []string
}

// Proof is a proof that was checked. The caller must refuse a JTI that it saw in the last 2*MaxAge.
type Proof struct {
	Key      ed25519.PublicKey
	JTI      string
	IssuedAt time.Time
	Salt     []byte
	Fresh    string
	Subject  string
}

// WireKey is the key in SSH wire form (RFC 8709 §4), as sshd/token takes it.
func (p *Proof) WireKey() []byte { return wireKey(p.Key) }

func wireKey(key ed25519.PublicKey) []byte {
	const name = "ssh-ed25519"
	b := binary.BigEndian.AppendUint32(nil, uint32(len(name)))
	b = append(b, name...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(key)))
	return append(b, key...)
}

// Sign proves possession of key for one request.
func Sign(key ed25519.PrivateKey, p Params) (string, error) {
	return "", reason.Errorf(reason.Internal, "not built yet")
}

// Verify checks a proof against the request that it came with. Errors are *reason.Error.
func Verify(raw string, want Want, now time.Time) (*Proof, error) {
	return nil, reason.Errorf(reason.Internal, "not built yet")
}
