package token

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
)

// The example of RFC 7638 §3.1.
func TestKeyIDIsTheThumbprintOfTheRFC(t *testing.T) {
	id, kid, err := KeyID(json.RawMessage(`{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`))
	if err != nil || kid != "2011-04-29" || id != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" {
		t.Errorf("%s, %s, %v", id, kid, err)
	}
}

func TestMachinesLimitsNarrowTheMap(t *testing.T) {
	k := fixedKeys(t)
	s := newSample(k)
	cert := s.certificate(t)
	es256 := thumbprint(k.es256.Public())
	for name, c := range map[string]struct {
		limits *Limits
		change func(*sample)
		want   reason.Code
	}{
		"none":                         {nil, nil, reason.OK},
		"the issuer":                   {&Limits{Issuers: []IssuerLimit{{URL: testIssuer}}}, nil, reason.OK},
		"the issuer and its key":       {&Limits{Issuers: []IssuerLimit{{URL: testIssuer, ClientID: testClient, Keys: []string{es256}}}}, nil, reason.OK},
		"no issuer":                    {&Limits{}, nil, reason.Limits},
		"another issuer":               {&Limits{Issuers: []IssuerLimit{{URL: soloIssuer}}}, nil, reason.Limits},
		"the issuer with a slash more": {&Limits{Issuers: []IssuerLimit{{URL: testIssuer + "/"}}}, nil, reason.Limits},
		"another client":               {&Limits{Issuers: []IssuerLimit{{URL: testIssuer, ClientID: "other"}}}, nil, reason.Limits},
		"another key":                  {&Limits{Issuers: []IssuerLimit{{URL: testIssuer, Keys: []string{thumbprint(k.ed.Public())}}}}, nil, reason.Limits},
		"a shorter day":                {&Limits{Issuers: []IssuerLimit{{URL: testIssuer, LoginLifetime: 9 * time.Minute}}}, nil, reason.LoginExpired},
		"a fresh token by another key": {&Limits{Issuers: []IssuerLimit{{URL: testIssuer, Keys: []string{es256}}}}, func(s *sample) {
			refreshed(s)
			s.fresh.header["alg"], s.fresh.header["kid"], s.fresh.key = "EdDSA", "ed", k.ed
		}, reason.Limits},
		"a renewal of a token by another key": {&Limits{Issuers: []IssuerLimit{{URL: testIssuer, Keys: []string{es256}}}}, func(s *sample) {
			traded(s)
			s.renewal.Key = thumbprint(k.ed.Public())
		}, reason.Limits},
	} {
		t.Run(name, func(t *testing.T) {
			trust := newTrust(t, k)
			trust.MapKey = k.mapKey.Public().(ed25519.PublicKey)
			offered := cert
			if c.change != nil {
				s := newSample(k)
				c.change(s)
				offered = s.certificate(t)
				if _, err := trust.VerifyCertificate(offered, testNow); err != nil {
					t.Fatalf("without limits: %v", err)
				}
			}
			trust.Limits = c.limits
			if _, err := trust.VerifyCertificate(offered, testNow); codeOf(err) != c.want {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

// A map that gives a login a year does not reach past the limits' day.
func TestLimitsBoundTheLoginWhateverTheMapSays(t *testing.T) {
	k := fixedKeys(t)
	s := newSample(k)
	refreshed(s)
	s.bound.claims["iat"] = testNow.Unix() - 25*3600
	trust := newTrust(t, k)
	trust.Issuers[0].LoginLifetime = 365 * 24 * time.Hour
	if _, err := trust.VerifyCertificate(s.certificate(t), testNow); err != nil {
		t.Fatal(err)
	}
	trust.Limits = &Limits{Issuers: []IssuerLimit{{URL: testIssuer}}}
	if _, err := trust.VerifyCertificate(s.certificate(t), testNow); codeOf(err) != reason.LoginExpired {
		t.Errorf("%v", err)
	}
}

func TestOpenSessionStandsWithItsIssuerAndKeys(t *testing.T) {
	k := fixedKeys(t)
	s := newSample(k)
	refreshed(s)
	s.fresh.header["alg"], s.fresh.header["kid"], s.fresh.key = "EdDSA", "ed", k.ed
	id, err := newTrust(t, k).VerifyCertificate(s.certificate(t), testNow)
	if err != nil {
		t.Fatal(err)
	}
	if len(id.KeyIDs) != 2 || id.KeyIDs[0] != thumbprint(k.es256.Public()) || id.KeyIDs[1] != thumbprint(k.ed.Public()) {
		t.Fatalf("keys %q", id.KeyIDs)
	}
	for name, c := range map[string]struct {
		change func(*api.Map)
		want   reason.Code
	}{
		"nothing changed":           {func(*api.Map) {}, reason.OK},
		"keys withdrawn":            {func(m *api.Map) { m.Issuers[0].Withdrawn, m.Issuers[0].Keys = m.Issuers[0].Keys, nil }, reason.OK},
		"keys forgotten":            {func(m *api.Map) { m.Issuers[0].Keys = nil }, reason.OK},
		"bound token's key":         {func(m *api.Map) { m.Issuers[0].Distrusted = []api.KeyRef{{ID: id.KeyIDs[0]}} }, reason.Distrusted},
		"fresh token's key":         {func(m *api.Map) { m.Issuers[0].Distrusted = []api.KeyRef{{ID: id.KeyIDs[1]}} }, reason.Distrusted},
		"another key":               {func(m *api.Map) { m.Issuers[0].Distrusted = []api.KeyRef{{ID: "x", KID: "es256"}} }, reason.OK},
		"issuer gone":               {func(m *api.Map) { m.Issuers = m.Issuers[1:] }, reason.Issuer},
		"issuer's client id is new": {func(m *api.Map) { m.Issuers[0].ClientID = "new" }, reason.Issuer},
	} {
		m := k.testMap()
		c.change(&m)
		trust, err := TrustFromMap(&m)
		if err != nil {
			t.Fatal(err)
		}
		if err := trust.Stands(id); codeOf(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	trust := newTrust(t, k)
	trust.Limits = &Limits{Issuers: []IssuerLimit{{URL: testIssuer, Keys: id.KeyIDs[:1]}}}
	if err := trust.Stands(id); codeOf(err) != reason.Limits {
		t.Errorf("limits that came later: %v", err)
	}
}

// What a provider refreshes without a nonce is for the management server alone; what it makes of it, for servers.
func TestRefreshedTokenWithoutNonceBecomesARenewal(t *testing.T) {
	k := fixedKeys(t)
	s := newSample(k)
	refreshed(s)
	s.settle()
	delete(s.fresh.claims, "nonce")
	trust := newTrust(t, k)
	trust.MapKey = k.mapKey.Public().(ed25519.PublicKey)
	bound, fresh := s.bound.sign(t), s.fresh.sign(t)
	if _, err := trust.VerifyTokens(wire(k.login), s.keys.salt, bound, fresh, testNow); codeOf(err) != reason.KeyMismatch {
		t.Fatalf("a server peer: %v", err)
	}
	id, err := trust.VerifyRefreshed(wire(k.login), s.keys.salt, bound, fresh, testNow)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := SignRenewal(k.mapKey, id.Renewal(bound))
	if err != nil {
		t.Fatal(err)
	}
	c, err := Mint(k.login, s.keys.salt, bound, raw)
	if err != nil || c.Extensions[ExtRenewal] != raw || c.Extensions[ExtFresh] != "" {
		t.Fatalf("minted %v, %v", c, err)
	}
	got, err := trust.VerifyCertificate(parseCertificate(t, c.Marshal()), testNow)
	if err != nil || asJSON(t, got) != asJSON(t, id) {
		t.Errorf("%v\n%s\nwant\n%s", err, asJSON(t, got), asJSON(t, id))
	}
	if p, err := Peek(raw); err != nil || p.Subject != "ann" || !p.Expires.Equal(id.Expires) {
		t.Errorf("%+v, %v", p, err)
	}
	// Not with the token of somebody else, nor one for another key.
	for name, change := range map[string]func(*tok){
		"other subject": func(f *tok) { f.claims["sub"] = "bob" },
		"other nonce":   func(f *tok) { f.claims["nonce"] = Nonce(s.keys.salt, wire(k.other)) },
	} {
		s := newSample(k)
		refreshed(s)
		s.settle()
		delete(s.fresh.claims, "nonce")
		change(s.fresh)
		if _, err := trust.VerifyRefreshed(wire(k.login), s.keys.salt, s.bound.sign(t), s.fresh.sign(t), testNow); codeOf(err) != reason.KeyMismatch {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Backdating is forgiven once, not again for a renewal of what was forgiven already.
func TestRenewalIsNotBackdatedTwice(t *testing.T) {
	k := fixedKeys(t)
	s := newSample(k)
	traded(s)
	trust := newTrust(t, k)
	trust.MapKey = k.mapKey.Public().(ed25519.PublicKey)
	trust.Issuers[0].IATBackdate = 5 * time.Minute
	id, err := trust.VerifyCertificate(s.certificate(t), testNow)
	if err != nil || !id.IssuedAt.Equal(testNow.Add(-10*time.Minute)) {
		t.Errorf("%v, %v", id, err)
	}
}

func TestUnknownKeyIsToldFromAWrongSignature(t *testing.T) {
	k := fixedKeys(t)
	verify := func(change func(*sample)) error {
		s := newSample(k)
		change(s)
		c, _ := ssh.ParsePublicKey(s.certificate(t).Marshal())
		_, err := newTrust(t, k).VerifyCertificate(c.(*ssh.Certificate), testNow)
		return err
	}
	var unknown *UnknownKeyError
	err := verify(func(s *sample) { s.bound.header["kid"] = "new" })
	if !errors.As(err, &unknown) || unknown.Issuer != testIssuer || unknown.KID != "new" || codeOf(err) != reason.Signature {
		t.Errorf("%v", err)
	}
	for name, change := range map[string]func(*sample){
		"wrong signature":   func(s *sample) { s.bound.key = k.foe },
		"key of other kind": func(s *sample) { s.bound.header["kid"] = "es384" },
		"no kid":            func(s *sample) { delete(s.bound.header, "kid") },
		"other issuer":      func(s *sample) { s.bound.claims["iss"], s.bound.header["kid"] = "https://foe.example", "new" },
	} {
		if err := verify(change); err == nil || errors.As(err, &unknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
