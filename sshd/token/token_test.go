package token

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api/reason"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew")

const vectorPath = "testdata/vectors.json"

func codeOf(err error) reason.Code {
	var e *reason.Error
	switch {
	case err == nil:
		return reason.OK
	case errors.As(err, &e):
		return e.Code
	}
	return "untyped error"
}

func readVectors(t testing.TB) vectorFile {
	t.Helper()
	raw, err := os.ReadFile(vectorPath)
	if err != nil {
		t.Fatal(err)
	}
	var f vectorFile
	if err := json.Unmarshal(raw, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func parseCertificate(t testing.TB, wire []byte) *ssh.Certificate {
	t.Helper()
	pub, err := ssh.ParsePublicKey(wire)
	if err != nil {
		t.Fatal(err)
	}
	return pub.(*ssh.Certificate)
}

// TestVectors: each refused certificate differs in one thing from its twin, which is seen accepted first.
func TestVectors(t *testing.T) {
	if *update {
		raw, err := json.MarshalIndent(generate(t), "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vectorPath, append(raw, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f := readVectors(t)
	if want := cases(); len(f.Vectors) != len(want) {
		t.Errorf("%s has %d vectors, the generator makes %d; run with -update", vectorPath, len(f.Vectors), len(want))
	}
	trust := f.trust(t)
	byName := make(map[string]vector)
	for _, v := range f.Vectors {
		byName[v.Name] = v
	}
	for _, v := range f.Vectors {
		t.Run(v.Name, func(t *testing.T) {
			if v.Twin != "" {
				twin := byName[v.Twin]
				if _, err := trust.VerifyCertificate(parseCertificate(t, twin.Certificate), twin.Now); err != nil {
					t.Fatalf("the twin %q: %v", v.Twin, err)
				}
			}
			id, err := trust.VerifyCertificate(parseCertificate(t, v.Certificate), v.Now)
			if got := codeOf(err); got != v.Code {
				t.Fatalf("%s (%v), want %s", got, err, v.Code)
			}
			if (id != nil) != (err == nil) {
				t.Fatalf("identity %v with error %v", id, err)
			}
			if id != nil {
				if got, want := asJSON(t, id), asJSON(t, v.Identity); got != want {
					t.Errorf("identity\n%s\nwant\n%s", got, want)
				}
			} else {
				t.Log(err)
			}
		})
	}
}

var localTime = regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)`)

func asJSON(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return localTime.ReplaceAllStringFunc(string(raw), func(s string) string { // wherever this machine is
		at, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return at.UTC().Format(time.RFC3339Nano)
	})
}

func newTrust(t testing.TB, k *keys) *Trust {
	t.Helper()
	m := k.testMap()
	trust, err := TrustFromMap(&m)
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

func TestMintedCertificateIsAcceptedAfterTheWire(t *testing.T) {
	key, salt, err := NewKey(testNow)
	if err != nil {
		t.Fatal(err)
	}
	k := fixedKeys(t)
	bound, fresh := k.tok(Nonce(salt, wire(key))), k.tok(Nonce(salt, wire(key)))
	fresh.claims["iat"] = testNow.Unix()
	c, err := Mint(key, salt, bound.sign(t), fresh.sign(t))
	if err != nil {
		t.Fatal(err)
	}
	// As it lies in the -cert.pub file.
	pub, _, _, _, err := ssh.ParseAuthorizedKey(ssh.MarshalAuthorizedKey(c))
	if err != nil {
		t.Fatal(err)
	}
	trust := newTrust(t, k)
	id, err := trust.VerifyCertificate(pub.(*ssh.Certificate), testNow)
	if err != nil {
		t.Fatal(err)
	}
	if !id.IssuedAt.Equal(testNow) || id.Subject != "ann" || id.Thumbprint != Thumbprint(wire(key)) {
		t.Errorf("identity %+v", id)
	}
	same, err := trust.VerifyTokens(wire(key), salt, bound.sign(t), fresh.sign(t), testNow)
	if err != nil || !reflect.DeepEqual(same, id) {
		t.Errorf("tokens alone: %+v, %v", same, err)
	}
}

func TestNewestTokenGivesGroupsAndTheBoundOneTheSignIn(t *testing.T) {
	k := fixedKeys(t)
	s := newSample(k)
	refreshed(s)
	id, err := newTrust(t, k).VerifyCertificate(s.certificate(t), testNow)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(id.Groups, []string{"ops", "new"}) || !reflect.DeepEqual(id.AMR, []string{"pwd", "otp"}) {
		t.Errorf("groups %q, amr %q", id.Groups, id.AMR)
	}
	if !id.BoundAt.Equal(testNow.Add(-6*time.Hour)) || !id.IssuedAt.Equal(testNow.Add(-10*time.Minute)) || !id.LoginExpires.Equal(testNow.Add(18*time.Hour)) {
		t.Errorf("bound %v, issued %v, login ends %v", id.BoundAt, id.IssuedAt, id.LoginExpires)
	}
	// A fresh token that is older than the bound one adds nothing.
	s.fresh.claims["iat"] = testNow.Unix() - 7*3600
	s.bound.claims["exp"] = testNow.Unix() + 60
	id, err = newTrust(t, k).VerifyCertificate(s.certificate(t), testNow)
	if err != nil || !reflect.DeepEqual(id.Groups, []string{"ops"}) {
		t.Errorf("groups %v, %v", id, err)
	}
}

func TestBackdatingCountsForAgeOnlyAndIsBounded(t *testing.T) {
	k := fixedKeys(t)
	s := newSample(k)
	for backdate, want := range map[time.Duration]time.Duration{0: -10 * time.Minute, 5 * time.Minute: -5 * time.Minute, time.Hour: 0, -time.Hour: -10 * time.Minute} {
		trust := newTrust(t, k)
		trust.Issuers[0].IATBackdate = backdate
		id, err := trust.VerifyCertificate(s.certificate(t), testNow)
		if err != nil {
			t.Fatal(err)
		}
		if got := id.IssuedAt.Sub(testNow); got != want {
			t.Errorf("backdate %v: issued at %v, want %v", backdate, got, want)
		}
		if !id.BoundAt.Equal(testNow.Add(-10 * time.Minute)) {
			t.Errorf("backdate %v moved the bound token's time to %v", backdate, id.BoundAt)
		}
	}
}

func TestClientIDsOfOneIssuerAreToldApart(t *testing.T) {
	k := fixedKeys(t)
	trust := newTrust(t, k)
	second := trust.Issuers[0]
	second.ClientID, second.LoginLifetime = "lanyard-phone", time.Hour
	trust.Issuers = append(trust.Issuers, second)
	s := newSample(k)
	s.bound.claims["aud"] = "lanyard-phone"
	id, err := trust.VerifyCertificate(s.certificate(t), testNow)
	if err != nil {
		t.Fatal(err)
	}
	if want := testNow.Add(50 * time.Minute); !id.LoginExpires.Equal(want) {
		t.Errorf("the login ends at %v, want %v", id.LoginExpires, want)
	}
}

func TestSessionNonceKeepsItsPartsApart(t *testing.T) {
	a := SessionNonce([]byte("ab"), []byte("c"), "d", "e", "f", []byte("g"))
	b := SessionNonce([]byte("a"), []byte("bc"), "d", "e", "f", []byte("g"))
	if a == b {
		t.Error("two lists of parts have one nonce")
	}
}

func TestEmailDomainIsComparedWhole(t *testing.T) {
	for email, want := range map[string]bool{
		"ann@example.org": true, "ann@EXAMPLE.org": true, "ann@sub.example.org": false, "ann@badexample.org": false,
		"ann@example.org@foe.example": false, "ann@foe.example@example.org": false, "@example.org": false, "ann": false, "": false,
	} {
		if got := emailDomainOK(email, []string{"example.org"}); got != want {
			t.Errorf("%q: %v", email, got)
		}
	}
	if emailDomainOK("ann@example.org", nil) {
		t.Error("no domain was assigned, yet one was accepted")
	}
}

func TestPeekReadsTimesWithoutKeys(t *testing.T) {
	k := fixedKeys(t)
	c, err := Peek(k.tok("n").sign(t))
	if err != nil || c.Issuer != testIssuer || c.Nonce != "n" || c.Expires.Unix() != testNow.Unix()+3000 {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := Peek("x"); codeOf(err) != reason.TokenMalformed {
		t.Error(err)
	}
}

func TestMintRefusesWhatNoServerWouldTake(t *testing.T) {
	key, salt, err := NewKey(testNow)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Mint(key, salt[:31], "a.b.c", ""); err == nil {
		t.Error("a short salt was taken")
	}
	if _, err := Mint(key, salt, "", ""); err == nil {
		t.Error("an absent token was taken")
	}
	if _, err := Mint(key, salt, strings.Repeat("a", MaxTokenSize+1), ""); err == nil {
		t.Error("a token over the limit was taken")
	}
	if _, err := Mint(nil, salt, "a.b.c", ""); err == nil {
		t.Error("an absent key was taken")
	}
}

func BenchmarkVerifyCertificate(b *testing.B) {
	k := fixedKeys(b)
	trust := newTrust(b, k)
	for name, prepare := range map[string]func(*sample){"bound": func(*sample) {}, "fresh": refreshed} {
		s := newSample(k)
		prepare(s)
		c := s.certificate(b)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := trust.VerifyCertificate(c, testNow); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
