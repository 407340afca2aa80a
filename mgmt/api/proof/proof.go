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
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"lanyard/mgmt/api/proof/jws"
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

// claimNames are those of a proof: htm, htu and ath as in RFC 9449 §4.2.
var claimNames = []string{"htm", "htu", "bh", "iat", "jti", "ath", "salt", "fresh", "sub"}

type header struct {
	Alg string `json:"alg"`
	Typ string `json:"typ"`
	JWK jwk    `json:"jwk"`
}

// jwk is an ed25519 public key (RFC 8037 §2).
type jwk struct {
	Kty string `json:"kty"`
	Crv string `json:"crv"`
	X   string `json:"x"`
}

type claims struct {
	Method string `json:"htm"`
	URL    string `json:"htu"`
	Body   string `json:"bh"` // base64url(SHA-256(body)), also of an empty one
	Iat    int64  `json:"iat"`
	JTI    string `json:"jti"`
	Ath    string `json:"ath,omitempty"`
	Salt   string `json:"salt,omitempty"`
	Fresh  string `json:"fresh,omitempty"`
	Sub    string `json:"sub,omitempty"`
}

var b64 = base64.RawURLEncoding.Strict()

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return b64.EncodeToString(sum[:])
}

// Sign proves possession of key for one request.
func Sign(key ed25519.PrivateKey, p Params) (string, error) {
	if len(key) != ed25519.PrivateKeySize {
		return "", errors.New("sign a request: the key is not an ed25519 key")
	}
	if p.Method == "" || p.URL == "" || p.Now.IsZero() {
		return "", errors.New("sign a request: method, URL and time are needed")
	}
	id := make([]byte, 16)
	rand.Read(id) // never fails (crypto/rand since Go 1.24)
	h := header{Alg: "EdDSA", Typ: TypeMachine, JWK: jwk{"OKP", "Ed25519", b64.EncodeToString(key.Public().(ed25519.PublicKey))}}
	c := claims{
		Method: p.Method, URL: p.URL, Body: hash(p.Body), Iat: p.Now.Unix(), JTI: b64.EncodeToString(id),
		Salt: b64.EncodeToString(p.Salt), Fresh: p.Fresh, Sub: p.Subject,
	}
	if p.AccessToken != "" {
		h.Typ, c.Ath = TypeLogin, hash([]byte(p.AccessToken))
	}
	head, err := json.Marshal(h)
	if err != nil {
		return "", fmt.Errorf("sign a request: %w", err)
	}
	body, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("sign a request: %w", err)
	}
	input := b64.EncodeToString(head) + "." + b64.EncodeToString(body)
	raw := input + "." + b64.EncodeToString(ed25519.Sign(key, []byte(input)))
	if len(raw) > MaxSize {
		return "", fmt.Errorf("sign a request: the proof is longer than %d bytes; ask your administrator for fewer claims in the ID token", MaxSize)
	}
	return raw, nil
}

// Verify checks a proof against the request that it came with. Errors are *reason.Error.
func Verify(raw string, want Want, now time.Time) (*Proof, error) {
	m, err := jws.Parse(raw, MaxSize, claimNames)
	if err != nil {
		return nil, malformed("the proof: %v", err)
	}
	typ := TypeMachine
	if want.AccessToken != "" {
		typ = TypeLogin
	}
	key, err := checkHeader(m.Header, typ)
	if err != nil {
		return nil, err
	}
	if !ed25519.Verify(key, []byte(m.Input), m.Signature) {
		return nil, reason.Errorf(reason.Signature, "the proof's signature is wrong")
	}
	return checkClaims(m.Claims, key, want, now)
}

func checkHeader(h jws.Object, typ string) (ed25519.PublicKey, error) {
	for name := range h {
		if name != "alg" && name != "typ" && name != "jwk" {
			return nil, malformed("the proof's header has %q", name)
		}
	}
	alg, err1 := h.String("alg")
	got, err2 := h.String("typ")
	if err := errors.Join(err1, err2); err != nil {
		return nil, malformed("the proof's header: %v", err)
	}
	if alg != "EdDSA" {
		return nil, malformed("the proof's alg is %q, not EdDSA", alg)
	}
	if got != typ {
		return nil, malformed("the proof's typ is %q, not %q", got, typ)
	}
	k, err := jws.ParseObject(h["jwk"], []string{"kty", "crv", "x"})
	if err != nil {
		return nil, malformed("the proof's key: %v", err)
	}
	kty, err1 := k.String("kty")
	crv, err2 := k.String("crv")
	x, err3 := k.String("x")
	pub, err4 := b64.DecodeString(x)
	// Three members and no more: a private key ("d") must never travel (RFC 9449 §4.3).
	if errors.Join(err1, err2, err3, err4) != nil || len(k) != 3 || kty != "OKP" || crv != "Ed25519" || len(pub) != ed25519.PublicKeySize {
		return nil, malformed("the proof's key is not an ed25519 public key")
	}
	return pub, nil
}

func checkClaims(o jws.Object, key ed25519.PublicKey, want Want, now time.Time) (*Proof, error) {
	text := make(map[string]string, len(claimNames))
	for _, name := range claimNames {
		if name == "iat" {
			continue
		}
		v, err := o.String(name)
		if err != nil {
			return nil, malformed("the proof: %v", err)
		}
		text[name] = v
	}
	iat, err := o.Time("iat")
	if err != nil || iat.IsZero() {
		return nil, malformed("the proof has no time")
	}
	if text["htm"] != want.Method {
		return nil, malformed("the proof is for method %q", text["htm"])
	}
	if err := checkURL(text["htu"], want); err != nil {
		return nil, err
	}
	if text["bh"] != hash(want.Body) {
		return nil, malformed("the proof is for another body")
	}
	if len(text["jti"]) < 16 || len(text["jti"]) > 64 {
		return nil, malformed("the proof's jti must have 16 to 64 characters")
	}
	if want.AccessToken == "" && o.Has("ath") {
		return nil, malformed("a machine's proof names a token")
	}
	if want.AccessToken != "" && text["ath"] != hash([]byte(want.AccessToken)) {
		return nil, reason.Errorf(reason.KeyMismatch, "the proof goes with another token")
	}
	// A proof is made for the request at hand: an old one is a replay or a wrong clock, and the person can
	// only do something about the clock.
	if d := now.Sub(iat); d > MaxAge || d < -MaxAge {
		return nil, reason.Errorf(reason.ClockSkew, "the proof's time is %v off", d.Round(time.Second))
	}
	salt, err := b64.DecodeString(text["salt"])
	if err != nil || strings.ContainsAny(text["salt"], "\r\n") {
		return nil, malformed("the proof's salt is not base64url")
	}
	return &Proof{Key: key, JTI: text["jti"], IssuedAt: iat, Salt: salt, Fresh: text["fresh"], Subject: text["sub"]}, nil
}

// checkURL compares path and query byte for byte, and the host with the server's own names where they are known.
func checkURL(htu string, want Want) error {
	host, path := splitURL(htu)
	if _, wantPath := splitURL(want.URL); path != wantPath {
		return malformed("the proof is for %q", htu)
	}
	if len(want.Hosts) == 0 {
		return nil
	}
	for _, h := range want.Hosts {
		if strings.EqualFold(h, host) {
			return nil
		}
	}
	return malformed("the proof is for host %q", host)
}

// splitURL takes "scheme://host/path?query" or "/path?query" apart without changing a byte; an empty path is "/".
func splitURL(u string) (host, path string) {
	u, _, _ = strings.Cut(u, "#")
	scheme, rest, ok := strings.Cut(u, "://")
	if !ok || strings.ContainsAny(scheme, "/?") {
		return "", u
	}
	i := strings.IndexAny(rest, "/?")
	if i < 0 {
		return rest, "/"
	}
	if rest[i] == '?' {
		return rest[:i], "/" + rest[i:]
	}
	return rest[:i], rest[i:]
}

func malformed(format string, args ...any) error {
	return reason.Errorf(reason.TokenMalformed, format, args...)
}
