package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"lanyard/mgmt/api/proof/jws"
)

const (
	maxKeys    = 256  // of one set; the largest providers publish about ten
	minRSABits = 2048 // RFC 7518 §3.3
	maxRSABits = 8192 // verification time rises with the square
)

// KeySet holds an issuer's public keys. A nil KeySet is empty.
type KeySet struct {
	keys     []key
	unusable []string
}

type key struct {
	kid    string
	id     string // RFC 7638 thumbprint
	alg    string // "": any that fits
	algs   []string
	public crypto.PublicKey
	// withdrawn is when the key left the JWKS, where the management server says so.
	withdrawn time.Time
}

// jwkNames are the members that are looked at (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2).
var jwkNames = []string{
	"kty", "use", "key_ops", "alg", "kid", "crv", "x", "y", "n", "e", "d", "p", "q", "dp", "dq", "qi", "oth", "k", withdrawnAt,
}

// withdrawnAt is a member that the management server may add to a withdrawn key: when it saw the key leave, as
// a NumericDate. The key then verifies no token that was issued later, so a thief of old keys gains nothing new.
const withdrawnAt = "lanyard_withdrawn_at"

// ParseKeySet reads keys as they stand in a JWKS (RFC 7517 §4). A key that cannot be used (of a kind that is not
// supported, too weak, for encryption, garbled) verifies nothing and disturbs no other; Unusable tells why.
func ParseKeySet(jwks []json.RawMessage) (*KeySet, error) {
	if len(jwks) > maxKeys {
		return nil, fmt.Errorf("the provider publishes %d keys; at most %d are read", len(jwks), maxKeys)
	}
	s := &KeySet{}
	for i, raw := range jwks {
		k, err := parseKey(raw)
		if err != nil {
			s.unusable = append(s.unusable, fmt.Sprintf("key %d (kid %q): %v", i+1, k.kid, err))
			continue
		}
		s.keys = append(s.keys, k)
	}
	return s, nil
}

// Len is the number of keys that can verify a token.
func (s *KeySet) Len() int {
	if s == nil {
		return 0
	}
	return len(s.keys)
}

// Unusable tells of each other key why it cannot.
func (s *KeySet) Unusable() []string {
	if s == nil {
		return nil
	}
	return s.unusable
}

func parseKey(raw json.RawMessage) (k key, err error) {
	if len(raw) > MaxTokenSize {
		return k, fmt.Errorf("it is longer than %d bytes", MaxTokenSize)
	}
	o, err := jws.ParseObject(raw, jwkNames)
	if err != nil {
		return k, err
	}
	text := make(map[string]string)
	for _, name := range []string{"kty", "use", "alg", "kid", "crv"} {
		if text[name], err = o.String(name); err != nil {
			return k, err
		}
	}
	k.kid, k.alg = text["kid"], text["alg"]
	for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		if o.Has(private) {
			return k, fmt.Errorf("it is a private or secret key")
		}
	}
	if o.Has("use") && text["use"] != "sig" {
		return k, fmt.Errorf("its use is %q, not sig", text["use"])
	}
	ops, err := o.Strings("key_ops")
	if err != nil {
		return k, err
	}
	if o.Has("key_ops") && !slices.Contains(ops, "verify") {
		return k, fmt.Errorf("its key_ops are without verify")
	}
	if k.withdrawn, err = o.Time(withdrawnAt); err != nil {
		return k, err
	}
	switch text["kty"] {
	case "RSA":
		k.public, k.algs, err = rsaKey(o)
	case "EC":
		k.public, k.algs, err = ecKey(o, text["crv"])
	case "OKP":
		k.public, k.algs, err = edKey(o, text["crv"])
	default:
		err = fmt.Errorf("its kty is %q", text["kty"])
	}
	if err == nil && o.Has("alg") && !slices.Contains(k.algs, k.alg) {
		err = fmt.Errorf("its alg is %q, which does not fit or is not supported", k.alg)
	}
	if err == nil {
		k.id = thumbprint(k.public)
	}
	return k, err
}

// KeyID names a published key for good: its thumbprint (RFC 7638). Pins and distrust go by it, as a kid may be given
// to another key.
func KeyID(jwk json.RawMessage) (id, kid string, err error) {
	k, err := parseKey(jwk)
	return k.id, k.kid, err
}

// thumbprint hashes the required members in the order of the alphabet, without blanks (RFC 7638 §3).
func thumbprint(public crypto.PublicKey) string {
	b64 := base64.RawURLEncoding.EncodeToString
	var text string
	switch p := public.(type) {
	case *rsa.PublicKey:
		text = fmt.Sprintf(`{"e":"%s","kty":"RSA","n":"%s"}`, b64(big.NewInt(int64(p.E)).Bytes()), b64(p.N.Bytes()))
	case *ecdsa.PublicKey:
		point, err := p.Bytes()
		if err != nil {
			return ""
		}
		half := (len(point) - 1) / 2
		text = fmt.Sprintf(`{"crv":"%s","kty":"EC","x":"%s","y":"%s"}`, p.Params().Name, b64(point[1:1+half]), b64(point[1+half:]))
	case ed25519.PublicKey:
		text = fmt.Sprintf(`{"crv":"Ed25519","kty":"OKP","x":"%s"}`, b64(p))
	}
	sum := sha256.Sum256([]byte(text))
	return b64(sum[:])
}

// without returns s without the keys that distrusted names.
func (s *KeySet) without(distrusted map[string]bool) *KeySet {
	if s == nil || len(distrusted) == 0 {
		return s
	}
	left := &KeySet{unusable: s.unusable}
	for _, k := range s.keys {
		if !distrusted[k.id] {
			left.keys = append(left.keys, k)
		}
	}
	return left
}

// rsaKey: RFC 7518 §6.3.1.
func rsaKey(o jws.Object) (crypto.PublicKey, []string, error) {
	n, err := number(o, "n")
	if err != nil {
		return nil, nil, err
	}
	e, err := number(o, "e")
	if err != nil {
		return nil, nil, err
	}
	mod := new(big.Int).SetBytes(n)
	if bits := mod.BitLen(); bits < minRSABits || bits > maxRSABits {
		return nil, nil, fmt.Errorf("it is an RSA key of %d bits instead of %d to %d", bits, minRSABits, maxRSABits)
	}
	exp := new(big.Int).SetBytes(e)
	if mod.Bit(0) == 0 || !exp.IsInt64() || exp.Int64() < 3 || exp.Int64() > 1<<31-1 || exp.Bit(0) == 0 {
		return nil, nil, fmt.Errorf("it is not an RSA key: modulus or exponent is wrong")
	}
	return &rsa.PublicKey{N: mod, E: int(exp.Int64())}, []string{"RS256", "PS256"}, nil
}

// ecKey: RFC 7518 §6.2.1. The point must be on the curve and its coordinates of full length.
func ecKey(o jws.Object, crv string) (crypto.PublicKey, []string, error) {
	var curve elliptic.Curve
	var alg string
	switch crv {
	case "P-256":
		curve, alg = elliptic.P256(), "ES256"
	case "P-384":
		curve, alg = elliptic.P384(), "ES384"
	default:
		return nil, nil, fmt.Errorf("its curve is %q", crv)
	}
	x, err := number(o, "x")
	if err != nil {
		return nil, nil, err
	}
	y, err := number(o, "y")
	if err != nil {
		return nil, nil, err
	}
	if size := curve.Params().BitSize / 8; len(x) != size || len(y) != size {
		return nil, nil, fmt.Errorf("its coordinates are not of %d bytes", size)
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(curve, append(append([]byte{4}, x...), y...))
	if err != nil {
		return nil, nil, fmt.Errorf("it is not a point on %s", crv)
	}
	return pub, []string{alg}, nil
}

// edKey: RFC 8037 §2.
func edKey(o jws.Object, crv string) (crypto.PublicKey, []string, error) {
	if crv != "Ed25519" {
		return nil, nil, fmt.Errorf("its curve is %q", crv)
	}
	x, err := number(o, "x")
	if err != nil {
		return nil, nil, err
	}
	if len(x) != ed25519.PublicKeySize {
		return nil, nil, fmt.Errorf("it is not of %d bytes", ed25519.PublicKeySize)
	}
	return ed25519.PublicKey(x), []string{"EdDSA"}, nil
}

func number(o jws.Object, name string) ([]byte, error) {
	s, err := o.String(name)
	if err != nil {
		return nil, err
	}
	// Some providers pad; encoding/base64 skips line ends.
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
	if err != nil || len(b) == 0 || strings.ContainsAny(s, "\r\n") {
		return nil, fmt.Errorf("its %q is not base64url", name)
	}
	return b, nil
}

// fit returns the keys of s that may have signed a token with kid and alg that was issued at iat.
func (s *KeySet) fit(kid, alg string, iat time.Time) []key {
	if s == nil {
		return nil
	}
	var fit []key
	for _, k := range s.keys {
		late := !k.withdrawn.IsZero() && iat.After(k.withdrawn.Add(Leeway))
		if (kid == "" || k.kid == kid) && slices.Contains(k.algs, alg) && (k.alg == "" || k.alg == alg) && !late {
			fit = append(fit, k)
		}
	}
	return fit
}
