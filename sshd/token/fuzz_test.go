package token

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"testing"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api/reason"
)

// signedTokens are the tokens in the vectors that the provider has signed, also those that are refused for what
// they say or when.
func signedTokens(f *testing.F, vectors vectorFile) map[string]bool {
	signed := make(map[string]bool)
	for _, v := range vectors.Vectors {
		switch v.Code {
		case reason.OK, reason.TokenExpired, reason.LoginExpired, reason.ClockSkew, reason.Revoked, reason.KeyMismatch, reason.TokenMalformed:
			e := parseCertificate(f, v.Certificate).Extensions
			signed[e[ExtIDToken]], signed[e[ExtFresh]], signed[e[ExtRenewal]] = true, true, true
		}
	}
	return signed
}

// FuzzVerifyCertificate: whatever the bytes, an accepted certificate is one whose provider signed this key and
// this person, and a refused one has a code.
func FuzzVerifyCertificate(f *testing.F) {
	vectors := readVectors(f)
	trust := vectors.trust(f)
	signed := signedTokens(f, vectors)
	for _, v := range vectors.Vectors {
		f.Add(v.Certificate)
	}
	login := Thumbprint(wire(fixedKeys(f).login))
	f.Fuzz(func(t *testing.T, data []byte) {
		pub, err := ssh.ParsePublicKey(data)
		if err != nil {
			return
		}
		c, ok := pub.(*ssh.Certificate)
		if !ok {
			return
		}
		id, err := trust.VerifyCertificate(c, testNow)
		if err != nil {
			if id != nil || !codeOf(err).Known() {
				t.Fatalf("identity %v, error %v", id, err)
			}
			return
		}
		if !signed[c.Extensions[ExtIDToken]] || id.Thumbprint != login || id.Subject != "ann" && id.Subject != "out" {
			t.Fatalf("accepted as %+v", id)
		}
	})
}

// FuzzVerifyTokens changes the token's text itself, which the certificate's signature hides from the target above.
func FuzzVerifyTokens(f *testing.F) {
	vectors := readVectors(f)
	trust := vectors.trust(f)
	k := fixedKeys(f)
	signed := signedTokens(f, vectors)
	for _, v := range vectors.Vectors {
		c := parseCertificate(f, v.Certificate)
		f.Add(c.Extensions[ExtIDToken], c.Extensions[ExtFresh])
		if r, ok := c.Extensions[ExtRenewal]; ok {
			f.Add(c.Extensions[ExtIDToken], r)
		}
	}
	f.Fuzz(func(t *testing.T, bound, fresh string) {
		id, err := trust.VerifyTokens(wire(k.login), k.salt, bound, fresh, testNow)
		if err != nil && !codeOf(err).Known() {
			t.Fatalf("an error without a code: %v", err)
		}
		if err == nil && (!signed[bound] || fresh != "" && !signed[fresh]) {
			t.Fatalf("accepted %q as %+v", bound, id)
		}
		if c, err := Peek(bound); err == nil && c.Issuer == "" {
			t.Fatal("a token without issuer was read")
		}
	})
}

// FuzzParseKeySet: no key that is too weak or of another kind comes out, and none makes a verification panic.
func FuzzParseKeySet(f *testing.F) {
	k := fixedKeys(f).withRSA(f)
	for _, raw := range append(k.testMap().Issuers[0].Keys, k.testMap().Issuers[0].Withdrawn...) {
		f.Add([]byte(raw))
	}
	f.Add([]byte(`{"kty":"oct","k":"AAAA","alg":"HS256"}`))
	token := k.tok("n").sign(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseKeySet([]json.RawMessage{data})
		if err != nil {
			t.Fatal(err)
		}
		if s.Len()+len(s.Unusable()) != 1 {
			t.Fatalf("%d usable and %d unusable keys of one", s.Len(), len(s.Unusable()))
		}
		for _, key := range s.keys {
			switch p := key.public.(type) {
			case *rsa.PublicKey:
				if p.N.BitLen() < minRSABits || p.E < 3 {
					t.Fatalf("an RSA key of %d bits, exponent %d", p.N.BitLen(), p.E)
				}
			case *ecdsa.PublicKey:
				if _, err := p.ECDH(); err != nil {
					t.Fatal(err)
				}
			case ed25519.PublicKey:
				if len(p) != ed25519.PublicKeySize {
					t.Fatal("an ed25519 key of another length")
				}
			default:
				t.Fatalf("a key of type %T", p)
			}
		}
		trust := &Trust{Issuers: []Issuer{{URL: testIssuer, ClientID: testClient, Keys: s}}}
		_, _ = trust.VerifyTokens(wire(k.login), k.salt, token, "", testNow)
	})
}

func TestUnusableKeysDisturbNoOthers(t *testing.T) {
	k := fixedKeys(t).withRSA(t)
	good := jwk("good", k.es256.Public())
	for name, bad := range map[string]json.RawMessage{
		"RSA of 1024 bits":  jwk("bad", k.weak.Public()),
		"for encryption":    jwk("bad", k.es256.Public(), "use", "enc"),
		"alg of another":    jwk("bad", k.es256.Public(), "alg", "RS256"),
		"alg of a secret":   jwk("bad", k.rsa.Public(), "alg", "HS256"),
		"private":           jwk("bad", k.ed.Public(), "d", "AAAA"),
		"secret":            json.RawMessage(`{"kty":"oct","kid":"bad","k":"AAAA"}`),
		"not on the curve":  jwk("bad", k.es256.Public(), "y", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
		"another curve":     jwk("bad", k.es256.Public(), "crv", "P-521"),
		"curve in capitals": jwk("bad", k.ed.Public(), "crv", "ED25519"),
		"short":             jwk("bad", k.ed.Public(), "x", "AAAA"),
		"exponent 1":        jwk("bad", k.rsa.Public(), "e", "AQ"),
		"even exponent":     jwk("bad", k.rsa.Public(), "e", "BA"),
		"duplicate name":    json.RawMessage(`{"kty":"OKP","kid":"bad","kid":"good"}`),
		"names in capitals": json.RawMessage(`{"KTY":"OKP","kid":"bad"}`),
		"not an object":     json.RawMessage(`"bad"`),
	} {
		s, err := ParseKeySet([]json.RawMessage{bad, good})
		if err != nil || s.Len() != 1 || len(s.Unusable()) != 1 {
			t.Errorf("%s: %d usable, unusable %q, %v", name, s.Len(), s.Unusable(), err)
			continue
		}
		if len(s.fit("good", "ES256", testNow)) != 1 || len(s.fit("bad", "ES256", testNow)) != 0 {
			t.Errorf("%s: the wrong key is left", name)
		}
	}
	if _, err := ParseKeySet(make([]json.RawMessage, maxKeys+1)); err == nil {
		t.Error("a set over the limit was read")
	}
}
