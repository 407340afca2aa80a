package token

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
	"testing/cryptotest"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
)

// sessionFile is testdata/session.json: tokens of the session kind, each with the SSH session that it comes with.
type sessionFile struct {
	About   string          `json:"about"`
	Map     api.Map         `json:"map"`
	Vectors []sessionVector `json:"vectors"`
}

type sessionVector struct {
	Name    string      `json:"name"`
	Now     time.Time   `json:"now"`
	Session Session     `json:"session"`
	Token   string      `json:"token"`
	Code    reason.Code `json:"code"`
}

const sessionPath = "testdata/session.json"

func testSession() Session {
	return Session{
		ID: bytes.Repeat([]byte{1}, 32), HostKey: bytes.Repeat([]byte{2}, 51), LocalUser: "deploy",
		Server: "pserver", Source: "psource", Salt: bytes.Repeat([]byte{3}, SaltSize),
	}
}

// sessionCases: the first is accepted, each other differs from it in one thing.
func sessionCases(k *keys) []struct {
	name   string
	code   reason.Code
	change func(*Session, *tok, *time.Time)
} {
	type c = struct {
		name   string
		code   reason.Code
		change func(*Session, *tok, *time.Time)
	}
	session := func(f func(*Session)) func(*Session, *tok, *time.Time) {
		return func(s *Session, _ *tok, _ *time.Time) { f(s) }
	}
	claim := func(name string, v any) func(*Session, *tok, *time.Time) {
		return func(_ *Session, t *tok, _ *time.Time) { t.claims[name] = v }
	}
	return []c{
		{"accepted", reason.OK, func(*Session, *tok, *time.Time) {}},
		{"another SSH session", reason.KeyMismatch, session(func(s *Session) { s.ID[31]++ })},
		{"another host key", reason.KeyMismatch, session(func(s *Session) { s.HostKey[0]++ })},
		{"another local user", reason.KeyMismatch, session(func(s *Session) { s.LocalUser = "root" })},
		{"another server peer", reason.KeyMismatch, session(func(s *Session) { s.Server = "pother" })},
		{"another source peer", reason.KeyMismatch, session(func(s *Session) { s.Source = "pother" })},
		{"another salt", reason.KeyMismatch, session(func(s *Session) { s.Salt[0]++ })},
		{"parts moved into each other", reason.KeyMismatch, session(func(s *Session) { s.LocalUser, s.Server = "deployp", "server" })},
		{"salt of 31 bytes", reason.TokenMalformed, session(func(s *Session) { s.Salt = s.Salt[:31] })},
		{"no session id", reason.TokenMalformed, session(func(s *Session) { s.ID = nil })},
		{"nonce of a login with this salt", reason.KeyMismatch, claim("nonce", Nonce(testSession().Salt, wire(k.login)))},
		{"no nonce", reason.KeyMismatch, func(_ *Session, t *tok, _ *time.Time) { delete(t.claims, "nonce") }},
		{"token of a login's client", reason.Audience, claim("aud", testClient)},
		{"token of the device client", reason.Audience, claim("aud", "lanyard-device")},
		{"issuer without sign-ins for sessions", reason.Issuer, func(_ *Session, t *tok, _ *time.Time) {
			delete(t.header, "kid")
			t.claims["iss"], t.key = soloIssuer, k.foe
		}},
		{"key of nobody", reason.Signature, func(_ *Session, t *tok, _ *time.Time) { t.key = k.foe }},
		{"withdrawn key", reason.Signature, func(_ *Session, t *tok, _ *time.Time) {
			t.header["alg"], t.header["kid"], t.key = "EdDSA", "old", k.old
		}},
		{"five minutes and the leeway old", reason.OK, func(_ *Session, _ *tok, now *time.Time) { *now = now.Add(SessionLife + Leeway) }},
		{"older", reason.TokenExpired, func(_ *Session, _ *tok, now *time.Time) { *now = now.Add(SessionLife + Leeway + time.Second) }},
		{"of the future", reason.ClockSkew, func(_ *Session, _ *tok, now *time.Time) { *now = now.Add(-Leeway - time.Second) }},
		{"expired", reason.TokenExpired, claim("exp", testNow.Unix()-61)},
		{"person whose logins were ended", reason.Revoked, func(_ *Session, t *tok, _ *time.Time) {
			t.claims["sub"], t.claims["iat"] = "out", testNow.Unix()-601
		}},
		{"logout token", reason.TokenMalformed, claim("events", map[string]any{"x": map[string]any{}})},
	}
}

func generateSessions(t *testing.T) sessionFile {
	cryptotest.SetGlobalRandom(t, 20261122)
	k := fixedKeys(t)
	f := sessionFile{
		About: "Tokens of the session kind: what a server that trusts the map must answer when each comes with its SSH session. " +
			"Made by 'go test ./sshd/token -run TestSessionVectors -update' from fixed seeds; the keys are nobody's.",
		Map: k.testMap(),
	}
	for _, c := range sessionCases(k) {
		s, now := testSession(), testNow
		tk := k.tok(s.Nonce())
		tk.claims["aud"], tk.claims["iat"] = "lanyard-session", testNow.Unix()
		c.change(&s, tk, &now)
		f.Vectors = append(f.Vectors, sessionVector{c.name, now, s, tk.sign(t), c.code})
	}
	return f
}

func TestSessionVectors(t *testing.T) {
	if *update {
		raw, err := json.MarshalIndent(generateSessions(t), "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(sessionPath, append(raw, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(sessionPath)
	if err != nil {
		t.Fatal(err)
	}
	var f sessionFile
	if err := json.Unmarshal(raw, &f); err != nil {
		t.Fatal(err)
	}
	if want := sessionCases(fixedKeys(t)); len(f.Vectors) != len(want) {
		t.Errorf("%s has %d vectors, the generator makes %d; run with -update", sessionPath, len(f.Vectors), len(want))
	}
	trust, err := TrustFromMap(&f.Map)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range f.Vectors {
		t.Run(v.Name, func(t *testing.T) {
			id, err := trust.VerifySession(v.Session, v.Token, v.Now)
			if got := codeOf(err); got != v.Code || (id != nil) != (err == nil) {
				t.Fatalf("%v, %s (%v), want %s", id, got, err, v.Code)
			}
			if id != nil && (id.Subject != "ann" || id.Thumbprint != "" || !id.LoginExpires.Equal(id.BoundAt.Add(DefaultLoginLifetime))) {
				t.Errorf("identity %+v", id)
			}
			// Whatever it is good for, it signs nobody in with a certificate or at the API.
			if _, err := trust.VerifyTokens(wire(fixedKeys(t).login), v.Session.Salt, v.Token, "", v.Now); err == nil {
				t.Error("it is taken as a login's token")
			}
		})
	}
}
