package proof

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"lanyard/mgmt/api/proof/jws"
	"lanyard/mgmt/api/reason"
)

var (
	key = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	now = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
)

func params() Params {
	return Params{Method: "POST", URL: "https://mgmt.example:8443/api/seen?x=1", Body: []byte("body"), AccessToken: "a.b.c", Salt: bytes.Repeat([]byte{9}, 32), Fresh: "d.e.f", Now: now}
}

func want() Want {
	return Want{Method: "POST", URL: "/api/seen?x=1", Body: []byte("body"), AccessToken: "a.b.c", Hosts: []string{"mgmt.example:8443"}}
}

func code(err error) reason.Code {
	var e *reason.Error
	if errors.As(err, &e) {
		return e.Code
	}
	if err == nil {
		return reason.OK
	}
	return "untyped"
}

func sign(t *testing.T, p Params) string {
	t.Helper()
	raw, err := Sign(key, p)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestProofSaysWhoSigned(t *testing.T) {
	p, err := Verify(sign(t, params()), want(), now.Add(30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if !p.Key.Equal(key.Public()) || !bytes.Equal(p.Salt, params().Salt) || p.Fresh != "d.e.f" || !p.IssuedAt.Equal(now) || p.JTI == "" {
		t.Errorf("got %+v", p)
	}
	again, err := Verify(sign(t, params()), want(), now)
	if err != nil || again.JTI == p.JTI {
		t.Errorf("two proofs have one jti (%v)", err)
	}
	m := params()
	m.AccessToken, m.Salt, m.Fresh, m.Subject = "", nil, "", "pabc"
	w := want()
	w.AccessToken = ""
	if p, err := Verify(sign(t, m), w, now); err != nil || p.Subject != "pabc" {
		t.Errorf("a machine's proof: %+v, %v", p, err)
	}
}

func TestProofForAnotherRequestIsRefused(t *testing.T) {
	raw := sign(t, params())
	for name, c := range map[string]struct {
		change func(*Params, *Want)
		at     time.Duration
		want   reason.Code
	}{
		"the twin":                {func(*Params, *Want) {}, 0, reason.OK},
		"no hosts configured":     {func(_ *Params, w *Want) { w.Hosts = nil }, 0, reason.OK},
		"host in other letters":   {func(_ *Params, w *Want) { w.Hosts = []string{"x", "MGMT.example:8443"} }, 0, reason.OK},
		"method":                  {func(_ *Params, w *Want) { w.Method = "GET" }, 0, reason.TokenMalformed},
		"path":                    {func(_ *Params, w *Want) { w.URL = "/api/me?x=1" }, 0, reason.TokenMalformed},
		"query":                   {func(_ *Params, w *Want) { w.URL = "/api/seen?x=2" }, 0, reason.TokenMalformed},
		"no query":                {func(_ *Params, w *Want) { w.URL = "/api/seen" }, 0, reason.TokenMalformed},
		"host":                    {func(_ *Params, w *Want) { w.Hosts = []string{"other.example"} }, 0, reason.TokenMalformed},
		"body":                    {func(_ *Params, w *Want) { w.Body = nil }, 0, reason.TokenMalformed},
		"token":                   {func(_ *Params, w *Want) { w.AccessToken = "a.b.d" }, 0, reason.KeyMismatch},
		"login's for a machine's": {func(_ *Params, w *Want) { w.AccessToken = "" }, 0, reason.TokenMalformed},
		"machine's for a login's": {func(p *Params, _ *Want) { p.AccessToken = "" }, 0, reason.TokenMalformed},
		"too old":                 {func(*Params, *Want) {}, 61 * time.Second, reason.ClockSkew},
		"just young enough":       {func(*Params, *Want) {}, 60 * time.Second, reason.OK},
		"of the future":           {func(*Params, *Want) {}, -61 * time.Second, reason.ClockSkew},
	} {
		p, w := params(), want()
		c.change(&p, &w)
		if _, err := Verify(sign(t, p), w, now.Add(c.at)); code(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	i := strings.LastIndexByte(raw, '.')
	flipped := raw[:i+1] + string(raw[i+1]^1) + raw[i+2:]
	if _, err := Verify(flipped, want(), now); code(err) != reason.Signature && code(err) != reason.TokenMalformed {
		t.Errorf("a changed signature: %v", err)
	}
}

// forge signs any header and claims.
func forge(header, claims string) string {
	input := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(claims))
	return input + "." + b64.EncodeToString(ed25519.Sign(key, []byte(input)))
}

func TestHeaderOfAProofIsExact(t *testing.T) {
	m, err := jws.Parse(sign(t, params()), MaxSize, claimNames)
	if err != nil {
		t.Fatal(err)
	}
	cl, _ := json.Marshal(m.Claims)
	x := string(m.Header["jwk"])
	for name, c := range map[string]struct {
		header string
		want   reason.Code
	}{
		"the twin":          {`{"alg":"EdDSA","typ":"dpop+jwt","jwk":` + x + `}`, reason.OK},
		"alg none":          {`{"alg":"none","typ":"dpop+jwt","jwk":` + x + `}`, reason.TokenMalformed},
		"alg absent":        {`{"typ":"dpop+jwt","jwk":` + x + `}`, reason.TokenMalformed},
		"typ JWT":           {`{"alg":"EdDSA","typ":"JWT","jwk":` + x + `}`, reason.TokenMalformed},
		"crit":              {`{"alg":"EdDSA","typ":"dpop+jwt","crit":["a"],"jwk":` + x + `}`, reason.TokenMalformed},
		"kid":               {`{"alg":"EdDSA","typ":"dpop+jwt","kid":"a","jwk":` + x + `}`, reason.TokenMalformed},
		"no key":            {`{"alg":"EdDSA","typ":"dpop+jwt"}`, reason.TokenMalformed},
		"private key":       {`{"alg":"EdDSA","typ":"dpop+jwt","jwk":` + strings.TrimSuffix(x, "}") + `,"d":"AA"}}`, reason.TokenMalformed},
		"kty in capitals":   {`{"alg":"EdDSA","typ":"dpop+jwt","jwk":` + strings.Replace(x, "kty", "KTY", 1) + `}`, reason.TokenMalformed},
		"duplicate jwk":     {`{"alg":"EdDSA","typ":"dpop+jwt","jwk":` + x + `,"jwk":` + x + `}`, reason.TokenMalformed},
		"short key":         {`{"alg":"EdDSA","typ":"dpop+jwt","jwk":{"kty":"OKP","crv":"Ed25519","x":"AA"}}`, reason.TokenMalformed},
		"another key":       {`{"alg":"EdDSA","typ":"dpop+jwt","jwk":{"kty":"OKP","crv":"Ed25519","x":"` + b64.EncodeToString(make([]byte, 32)) + `"}}`, reason.Signature},
		"jwk is not a dict": {`{"alg":"EdDSA","typ":"dpop+jwt","jwk":"a"}`, reason.TokenMalformed},
	} {
		if _, err := Verify(forge(c.header, string(cl)), want(), now); code(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func TestClaimsOfAProofAreComplete(t *testing.T) {
	x, _ := json.Marshal(jwk{"OKP", "Ed25519", b64.EncodeToString(key.Public().(ed25519.PublicKey))})
	machine := want()
	machine.AccessToken = ""
	full := claims{Method: "POST", URL: want().URL, Body: hash(want().Body), Iat: now.Unix(), JTI: "0123456789abcdef"}
	machine.Hosts = nil
	for name, c := range map[string]struct {
		change func(*claims)
		want   reason.Code
	}{
		"the twin":                {func(*claims) {}, reason.OK},
		"short jti":               {func(c *claims) { c.JTI = "0123456789abcde" }, reason.TokenMalformed},
		"long jti":                {func(c *claims) { c.JTI = strings.Repeat("x", 65) }, reason.TokenMalformed},
		"machine's with a token":  {func(c *claims) { c.Ath = hash([]byte("a.b.c")) }, reason.TokenMalformed},
		"no time":                 {func(c *claims) { c.Iat = 0 }, reason.ClockSkew},
		"salt that is no base64":  {func(c *claims) { c.Salt = "+" }, reason.TokenMalformed},
		"no hash of the body":     {func(c *claims) { c.Body = "" }, reason.TokenMalformed},
		"URL with another scheme": {func(c *claims) { c.URL = "http://x" + want().URL }, reason.OK},
	} {
		cl := full
		c.change(&cl)
		raw, _ := json.Marshal(cl)
		if _, err := Verify(forge(`{"alg":"EdDSA","typ":"lanyard-proof+jwt","jwk":`+string(x)+`}`, string(raw)), machine, now); code(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func FuzzProof(f *testing.F) {
	raw, err := Sign(key, params())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(forge(`{"alg":"EdDSA","typ":"dpop+jwt"}`, `{}`))
	f.Fuzz(func(t *testing.T, in string) {
		p, err := Verify(in, want(), now)
		if err == nil && !p.Key.Equal(key.Public()) {
			t.Fatalf("accepted %q", in)
		}
		if err != nil && code(err) == "untyped" {
			t.Fatalf("an error without a code: %v", err)
		}
	})
}
