package token

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api/reason"
)

// change is one way in which a vector differs from its twin.
type change struct {
	name, twin string
	code       reason.Code
	change     func(*sample)
}

func caseNamed(name string) change {
	for _, c := range cases() {
		if c.name == name {
			return c
		}
	}
	panic("no case " + name)
}

// Accepted vectors that others differ from.
const (
	plain   = "accepted"
	renewed = "accepted with a fresh token"
	solo    = "accepted from an issuer with one key and no kid"
	renewal = "accepted with a renewal"
	roles   = "accepted with groups in a claim inside a claim"
)

func cases() []change {
	var all []change
	all = append(all, accepted()...)
	all = append(all, refusedForm()...)
	all = append(all, refusedKey()...)
	all = append(all, refusedClaims()...)
	all = append(all, refusedTimes()...)
	all = append(all, refusedFresh()...)
	all = append(all, refusedRenewal()...)
	all = append(all, refusedGroups()...)
	return append(all, refusedCertificate()...)
}

func claim(name string, v any) func(*sample) { return func(s *sample) { s.bound.claims[name] = v } }

func header(name string, v any) func(*sample) { return func(s *sample) { s.bound.header[name] = v } }

func without(name string) func(*sample) { return func(s *sample) { delete(s.bound.claims, name) } }

func fresh(name string, v any) func(*sample) { return func(s *sample) { s.fresh.claims[name] = v } }

// insert puts raw JSON behind the opening brace of the claims.
func insert(raw string) func(*sample) {
	return func(s *sample) {
		s.bound.edit = func(c string) string { return "{" + raw + "," + strings.TrimPrefix(c, "{") }
	}
}

func at(seconds int) time.Time { return testNow.Add(time.Duration(seconds) * time.Second) }

func accepted() []change {
	return []change{
		{plain, "", reason.OK, func(*sample) {}},
		{renewed, "", reason.OK, refreshed},
		{solo, "", reason.OK, func(s *sample) {
			delete(s.bound.header, "kid")
			s.bound.claims["iss"], s.bound.key = soloIssuer, s.keys.foe
		}},
		{renewal, "", reason.OK, traded},
		{roles, "", reason.OK, func(s *sample) {
			s.bound.header["kid"], s.bound.claims["iss"], s.bound.key = "foe", groupsIssuer, s.keys.foe
			s.bound.claims["realm_access"] = map[string]any{"roles": []string{"web"}}
		}},
		{"RS256", plain, reason.OK, func(s *sample) {
			s.bound.header["alg"], s.bound.header["kid"], s.bound.key = "RS256", "rsa", s.keys.rsa
		}},
		{"PS256", plain, reason.OK, func(s *sample) {
			s.bound.header["alg"], s.bound.header["kid"], s.bound.key = "PS256", "rsa", s.keys.rsa
		}},
		{"ES384", plain, reason.OK, func(s *sample) {
			s.bound.header["alg"], s.bound.header["kid"], s.bound.key = "ES384", "es384", s.keys.es384
		}},
		{"EdDSA", plain, reason.OK, func(s *sample) {
			s.bound.header["alg"], s.bound.header["kid"], s.bound.key = "EdDSA", "ed", s.keys.ed
		}},
		{"several audiences with azp", plain, reason.OK, func(s *sample) {
			s.bound.claims["aud"], s.bound.claims["azp"] = []string{"another", testClient}, testClient
		}},
		{"signed in with a code on another device", plain, reason.OK, claim("aud", "lanyard-device")},
		{"no typ", plain, reason.OK, func(s *sample) { delete(s.bound.header, "typ") }},
		{"no groups, no email", plain, reason.OK, func(s *sample) {
			delete(s.bound.claims, "groups")
			delete(s.bound.claims, "email")
		}},
		{"expired within the leeway", plain, reason.OK, claim("exp", testNow.Unix()-59)},
		{"issued ahead within the leeway", plain, reason.OK, claim("iat", testNow.Unix()+60)},
		{"bound token by a withdrawn key", renewed, reason.OK, func(s *sample) {
			s.bound.header["alg"], s.bound.header["kid"], s.bound.key = "EdDSA", "old", s.keys.old
		}},
		{"bound token from before its key was withdrawn", renewed, reason.OK, func(s *sample) {
			s.bound.header["alg"], s.bound.header["kid"], s.bound.key = "EdDSA", "gone", s.keys.gone
		}},
		{"principals, key id, permit-* and other extensions are ignored", plain, reason.OK, func(s *sample) {
			s.cert = func(c *ssh.Certificate) {
				c.ValidPrincipals, c.KeyId, c.Serial = []string{"root"}, "root", 7
				c.Extensions["permit-pty"] = ""
				c.Extensions["other@example.org"] = "x"
			}
		}},
	}
}

func refusedForm() []change {
	m := reason.TokenMalformed
	return []change{
		{"duplicate sub", plain, m, insert(`"sub":"root"`)},
		{"duplicate sub, same value", plain, m, insert(`"sub":"ann"`)},
		{"sub and SUB", plain, m, insert(`"SUB":"root"`)},
		{"Sub instead of sub", plain, m, func(s *sample) {
			delete(s.bound.claims, "sub")
			s.bound.claims["Sub"] = "ann"
		}},
		{"sub with a long s", plain, m, insert(`"ſub":"root"`)},
		{"escaped duplicate", plain, m, insert(`"s\u0075b":"root"`)},
		{"email and Email", plain, m, insert(`"Email":"root@example.org"`)},
		{"duplicate inside a claim", plain, m, insert(`"x":{"a":1,"a":2}`)},
		{"duplicate alg in the header", plain, m, func(s *sample) {
			s.bound.editHeader = func(h string) string { return `{"alg":"none",` + strings.TrimPrefix(h, "{") }
		}},
		{"ALG in the header", plain, m, header("ALG", "none")},
		{"crit", plain, m, header("crit", []string{"exp"})},
		{"jku", plain, m, header("jku", "https://foe.example/jwks")},
		{"jwk", plain, m, header("jwk", map[string]string{"kty": "OKP"})},
		{"x5u", plain, m, header("x5u", "https://foe.example/cert")},
		{"b64", plain, m, header("b64", false)},
		{"access token", plain, m, header("typ", "at+jwt")},
		{"access token, long form", plain, m, header("typ", "application/at+jwt")},
		{"logout token by typ", plain, m, header("typ", "logout+jwt")},
		{"logout token by events", plain, m, claim("events", map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}})},
		{"access token by Keycloak's claim", plain, m, claim("typ", "Bearer")},
		{"nested token", plain, m, header("cty", "JWT")},
		{"claims with a line end", plain, m, func(s *sample) {
			s.ext = func(e map[string]string) { e[ExtIDToken] = strings.Replace(e[ExtIDToken], ".", ".\n", 1) }
		}},
		{"padded", plain, m, func(s *sample) { s.ext = func(e map[string]string) { e[ExtIDToken] += "=" } }},
		{"four parts", plain, m, func(s *sample) { s.ext = func(e map[string]string) { e[ExtIDToken] += ".AA" } }},
		{"token of 17 KB", plain, m, claim("x", strings.Repeat("x", 17<<10*3/4))},
		{"sub is a number", plain, m, claim("sub", 7)},
		{"sub is empty", plain, m, claim("sub", "")},
		{"sub has a line end", plain, m, claim("sub", "ann\nroot")},
		{"no aud", plain, m, without("aud")},
		{"no exp", plain, m, without("exp")},
		{"no iat", plain, m, without("iat")},
		{"exp is a string", plain, m, claim("exp", "1800000000")},
		{"groups is a number", plain, m, claim("groups", 7)},
	}
}

func refusedKey() []change {
	sig := reason.Signature
	return []change{
		{"changed signature", plain, sig, func(s *sample) {
			s.ext = func(e map[string]string) {
				raw := []byte(e[ExtIDToken])
				i := strings.LastIndexByte(string(raw), '.') + 5
				if raw[i]++; raw[i] == 'z'+1 || raw[i] == 'Z'+1 || raw[i] == '9'+1 || raw[i] == '-'+1 || raw[i] == '_'+1 {
					raw[i] = 'A'
				}
				e[ExtIDToken] = string(raw)
			}
		}},
		{"changed claim under the same signature", plain, sig, func(s *sample) {
			s.ext = func(e map[string]string) {
				p := strings.Split(e[ExtIDToken], ".")
				c, _ := base64.RawURLEncoding.DecodeString(p[1])
				p[1] = base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(c), `"sub":"ann"`, `"sub":"bob"`, 1)))
				e[ExtIDToken] = strings.Join(p, ".")
			}
		}},
		{"alg none", plain, sig, func(s *sample) {
			s.bound.header["alg"] = "none"
			s.ext = func(e map[string]string) {
				e[ExtIDToken] = e[ExtIDToken][:strings.LastIndexByte(e[ExtIDToken], '.')+1]
			}
		}},
		{"HS256 with the public key", plain, sig, func(s *sample) {
			der, err := x509.MarshalPKIXPublicKey(s.keys.es256.Public())
			if err != nil {
				panic(err)
			}
			s.bound.header["alg"], s.bound.key = "HS256", der
		}},
		{"RS512", plain, sig, func(s *sample) {
			s.bound.header["alg"], s.bound.header["kid"], s.bound.key = "RS512", "rsa", s.keys.rsa
		}},
		{"RSA of 1024 bits", "RS256", sig, func(s *sample) { s.bound.header["kid"], s.bound.key = "weak", s.keys.weak }},
		{"distrusted key", "EdDSA", reason.Distrusted, func(s *sample) {
			s.bound.header["kid"], s.bound.key = "bad", s.keys.bad
		}},
		{"wrong curve for alg", plain, sig, func(s *sample) { s.bound.header["kid"] = "es384" }},
		{"key for encryption", plain, sig, func(s *sample) { s.bound.header["kid"], s.bound.key = "enc", s.keys.foe }},
		{"no kid", plain, sig, func(s *sample) { delete(s.bound.header, "kid") }},
		{"empty kid", plain, reason.TokenMalformed, header("kid", "")},
		{"unknown kid", plain, sig, header("kid", "nobody")},
		{"key of another issuer", plain, sig, func(s *sample) { s.bound.key = s.keys.foe }},
		{"kid for an issuer whose key has none", solo, sig, header("kid", "es256")},
		{"token issued after its key was withdrawn", plain, sig, func(s *sample) {
			s.bound.header["alg"], s.bound.header["kid"], s.bound.key = "EdDSA", "gone", s.keys.gone
		}},
	}
}

func refusedClaims() []change {
	return []change{
		{"other issuer, same kid", plain, reason.Issuer, claim("iss", "https://foe.example")},
		{"issuer with a slash more", plain, reason.Issuer, claim("iss", testIssuer+"/")},
		{"issuer in capitals", plain, reason.Issuer, claim("iss", strings.ToUpper(testIssuer))},
		{"no issuer", plain, reason.TokenMalformed, without("iss")},
		{"other audience", plain, reason.Audience, claim("aud", "another")},
		{"audience in capitals", plain, reason.Audience, claim("aud", "Lanyard")},
		{"several audiences without azp", "several audiences with azp", reason.Audience, without("azp")},
		{"several audiences, azp of another", "several audiences with azp", reason.Audience, claim("azp", "another")},
		{"one audience, azp of another", plain, reason.Audience, claim("azp", "another")},
		{"nonce of another key", plain, reason.KeyMismatch, func(s *sample) {
			s.bound.claims["nonce"] = Nonce(s.keys.salt, wire(s.keys.other))
		}},
		{"nonce of another salt", plain, reason.KeyMismatch, func(s *sample) {
			s.bound.claims["nonce"] = Nonce(make([]byte, 32), wire(s.keys.login))
		}},
		{"no nonce", plain, reason.KeyMismatch, without("nonce")},
		{"refreshed token as the bound one", plain, reason.KeyMismatch, func(s *sample) { s.begins(-afterBegan - 601*time.Second) }},
		{"bound token of a login that took its time", plain, reason.OK, func(s *sample) { s.begins(-afterBegan - 600*time.Second) }},
		{"bound token from before its login", plain, reason.ClockSkew, func(s *sample) { s.begins(beforeBegan - 599*time.Second) }},
		{"bound token backdated, by a clock that differs", plain, reason.OK, func(s *sample) { s.begins(beforeBegan - 600*time.Second) }},
		{"salt that tells no time", plain, reason.TokenMalformed, func(s *sample) {
			s.began, s.keys.salt = true, bytes.Repeat([]byte{3}, SaltSize)
			s.bound.claims["nonce"] = Nonce(s.keys.salt, wire(s.key))
		}},
		{"token of the session kind", plain, reason.KeyMismatch, func(s *sample) {
			s.bound.claims["nonce"] = SessionNonce([]byte("session"), []byte("host key"), "ann", "pserver", "psource", s.keys.salt)
		}},
		{"token of the session kind, as it is issued", plain, reason.Audience, func(s *sample) {
			s.bound.claims["aud"] = "lanyard-session"
			s.bound.claims["nonce"] = SessionNonce([]byte("session"), []byte("host key"), "ann", "pserver", "psource", s.keys.salt)
		}},
		{"token of the session kind's client with the nonce of this key", plain, reason.Audience, claim("aud", "lanyard-session")},
		{"fresh token of the session kind's client", renewed, reason.Audience, fresh("aud", "lanyard-session")},
		{"revoked key", plain, reason.Revoked, func(s *sample) {
			s.key = s.keys.other
			s.bound.claims["nonce"] = Nonce(s.keys.salt, wire(s.key))
		}},
		{"login from before the person's not-before", plain, reason.Revoked, func(s *sample) {
			s.bound.claims["sub"], s.bound.claims["iat"] = "out", testNow.Unix()-601
		}},
		{"login from after the person's not-before", plain, reason.OK, claim("sub", "out")},
	}
}

// begins has the login begin at that time from testNow; the bound token is ten minutes old.
func (s *sample) begins(after time.Duration) {
	s.began, s.keys.salt = true, testSalt(testNow.Add(after))
	s.bound.claims["nonce"] = Nonce(s.keys.salt, wire(s.key))
}

func refusedTimes() []change {
	return []change{
		{"expired", plain, reason.TokenExpired, claim("exp", testNow.Unix()-60)},
		{"not yet valid", plain, reason.ClockSkew, claim("nbf", testNow.Unix()+61)},
		{"valid from now within the leeway", plain, reason.OK, claim("nbf", testNow.Unix()+60)},
		{"issued in the future", plain, reason.ClockSkew, claim("iat", testNow.Unix()+61)},
		{"clock of the server 11 minutes behind", plain, reason.ClockSkew, func(s *sample) { s.now = at(-661) }},
		{"clock of the server set back before the map", plain, reason.ClockSkew, func(s *sample) { s.now = at(-1 << 30) }},
		{"clock before the map: the map's time counts", plain, reason.TokenExpired, func(s *sample) {
			s.now = at(-7200)
			s.bound.claims["iat"], s.bound.claims["exp"] = testNow.Unix()-7200, testNow.Unix()-3660
		}},
		{"login older than a day", renewed, reason.LoginExpired, claim("iat", testNow.Unix()-24*3600)},
		{"login almost a day old", renewed, reason.OK, claim("iat", testNow.Unix()-24*3600+1)},
		{"login older than the issuer's hour and its backdating", solo, reason.LoginExpired, claim("iat", testNow.Unix()-3900)},
		{"login within the issuer's hour and its backdating", solo, reason.OK, claim("iat", testNow.Unix()-3899)},
	}
}

func refusedFresh() []change {
	mismatch := reason.KeyMismatch
	return []change{
		{"fresh token of another subject", renewed, mismatch, fresh("sub", "bob")},
		{"fresh token with another nonce", renewed, mismatch, func(s *sample) {
			s.fresh.claims["nonce"] = Nonce(s.keys.salt, wire(s.keys.other))
		}},
		{"fresh token without nonce", renewed, mismatch, func(s *sample) { delete(s.fresh.claims, "nonce") }},
		{"fresh token of another trusted issuer", renewed, mismatch, func(s *sample) {
			delete(s.fresh.header, "kid")
			s.fresh.claims["iss"], s.fresh.key = soloIssuer, s.keys.foe
		}},
		{"fresh token of an unknown issuer", renewed, reason.Issuer, fresh("iss", "https://foe.example")},
		{"fresh token for another audience", renewed, reason.Audience, fresh("aud", "another")},
		{"fresh token by a withdrawn key", renewed, reason.Signature, func(s *sample) {
			s.fresh.header["alg"], s.fresh.header["kid"], s.fresh.key = "EdDSA", "old", s.keys.old
		}},
		{"fresh token by a key of nobody", renewed, reason.Signature, func(s *sample) { s.fresh.key = s.keys.foe }},
		{"fresh token expired", renewed, reason.TokenExpired, fresh("exp", testNow.Unix()-60)},
		{"fresh token of the future", renewed, reason.ClockSkew, fresh("iat", testNow.Unix()+61)},
		{"fresh token is an access token", renewed, reason.TokenMalformed, func(s *sample) { s.fresh.header["typ"] = "at+jwt" }},
		{"fresh token of 17 KB", renewed, reason.TokenMalformed, fresh("x", strings.Repeat("x", 17<<10*3/4))},
		{"fresh token empty", renewed, reason.TokenMalformed, func(s *sample) {
			s.ext = func(e map[string]string) { e[ExtFresh] = "" }
		}},
		{"bound token expired and no fresh one", renewed, reason.TokenExpired, func(s *sample) { s.fresh = nil }},
	}
}

func refusedRenewal() []change {
	m, mismatch := reason.TokenMalformed, reason.KeyMismatch
	set := func(f func(*Renewal)) func(*sample) { return func(s *sample) { f(s.renewal) } }
	ext := func(f func(map[string]string)) func(*sample) { return func(s *sample) { s.ext = f } }
	return []change{
		{"renewal forged by another key", renewal, reason.Signature, func(s *sample) { s.renewBy = s.keys.other }},
		{"renewal by the provider's key", renewal, reason.Signature, func(s *sample) { s.renewBy = s.keys.ed }},
		{"renewal by the login's own key", renewal, reason.Signature, func(s *sample) { s.renewBy = s.keys.login }},
		{"renewal changed after signing", renewal, reason.Signature, func(s *sample) {
			s.editRenewal = func(raw string) string {
				p := strings.Split(raw, ".")
				c, _ := base64.RawURLEncoding.DecodeString(p[1])
				p[1] = base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(c), `"ops"`, `"adm"`, 1)))
				return strings.Join(p, ".")
			}
		}},
		{"renewal stale", renewal, reason.TokenExpired, set(func(r *Renewal) { r.Expires = at(-60) })},
		{"renewal of the future", renewal, reason.ClockSkew, set(func(r *Renewal) { r.Issued = at(61) })},
		{"renewal of another key", renewal, mismatch, func(s *sample) { s.renewal.Thumbprint = Thumbprint(wire(s.keys.other)) }},
		{"renewal of another login of the same key", renewal, mismatch, set(func(r *Renewal) { r.Login = LoginID("another") })},
		{"renewal of another subject", renewal, mismatch, set(func(r *Renewal) { r.Subject = "bob" })},
		{"renewal of another issuer", renewal, mismatch, set(func(r *Renewal) { r.Issuer = soloIssuer })},
		{"renewal of a token by a distrusted key", renewal, reason.Distrusted, func(s *sample) {
			s.renewal.Key = thumbprint(s.keys.bad.Public())
		}},
		{"renewal with a kid in its header", renewal, m, func(s *sample) {
			s.editRenewal = func(raw string) string {
				_, rest, _ := strings.Cut(raw, ".")
				return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"EdDSA","typ":"lanyard-renewal+jwt","kid":"es256"}`)) + "." + rest
			}
		}},
		{"renewal with alg none", renewal, m, func(s *sample) {
			s.editRenewal = func(raw string) string {
				p := strings.Split(raw, ".")
				return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"lanyard-renewal+jwt"}`)) + "." + p[1] + "."
			}
		}},
		{"renewal empty", renewal, m, ext(func(e map[string]string) { e[ExtRenewal] = "" })},
		{"renewal in place of a fresh token", renewal, m, ext(func(e map[string]string) {
			e[ExtFresh] = e[ExtRenewal]
			delete(e, ExtRenewal)
		})},
		{"renewal in place of the bound token", renewal, m, ext(func(e map[string]string) { e[ExtIDToken] = e[ExtRenewal] })},
		{"fresh token in place of a renewal", renewed, m, ext(func(e map[string]string) {
			e[ExtRenewal] = e[ExtFresh]
			delete(e, ExtFresh)
		})},
		{"fresh token and renewal", renewal, m, ext(func(e map[string]string) { e[ExtFresh] = e[ExtIDToken] })},
		{"login over, renewal or not", renewal, reason.LoginExpired, claim("iat", testNow.Unix()-24*3600)},
	}
}

func refusedGroups() []change {
	m := reason.TokenMalformed
	return []change{
		{"groups of the standard claim do not count there", roles, reason.OK, without("realm_access")},
		{"claim with the groups in other letters", roles, m, insert(`"Realm_access":{"roles":["root"]}`)},
		{"inner claim with the groups in other letters", roles, m, claim("realm_access", map[string]any{"roles": []string{"web"}, "ROLES": []string{"root"}})},
		{"groups inside are a number", roles, m, claim("realm_access", map[string]any{"roles": 7})},
		{"claim around the groups is a text", roles, m, claim("realm_access", "web")},
	}
}

func refusedCertificate() []change {
	m := reason.TokenMalformed
	ext := func(f func(map[string]string)) func(*sample) { return func(s *sample) { s.ext = f } }
	cert := func(f func(*ssh.Certificate)) func(*sample) { return func(s *sample) { s.cert = f } }
	return []change{
		{"no token", plain, reason.TokenMissing, ext(func(e map[string]string) { delete(e, ExtIDToken) })},
		{"only a fresh token", renewed, reason.TokenMissing, ext(func(e map[string]string) { delete(e, ExtIDToken) })},
		{"no salt", plain, m, ext(func(e map[string]string) { delete(e, ExtSalt) })},
		{"salt of 31 bytes", plain, m, ext(func(e map[string]string) { e[ExtSalt] = e[ExtSalt][:31] })},
		{"salt of 33 bytes", plain, m, ext(func(e map[string]string) { e[ExtSalt] += "x" })},
		{"host certificate", plain, m, cert(func(c *ssh.Certificate) { c.CertType = ssh.HostCert })},
		{"critical option", plain, m, cert(func(c *ssh.Certificate) {
			c.CriticalOptions = map[string]string{"force-command": "true"}
		})},
		{"critical option without value", plain, m, cert(func(c *ssh.Certificate) {
			c.CriticalOptions = map[string]string{"verify-required": ""}
		})},
		{"signed by a foreign key", plain, m, func(s *sample) {
			by, err := ssh.NewSignerFromKey(s.keys.other)
			if err != nil {
				panic(err)
			}
			s.by = by
		}},
		{"foreign signature under the own key's name", plain, m, func(s *sample) {
			by, err := ssh.NewSignerFromKey(s.keys.other)
			if err != nil {
				panic(err)
			}
			s.by = by
			s.after = func(c *ssh.Certificate) { c.SignatureKey = c.Key }
		}},
		{"changed after signing", plain, m, func(s *sample) { s.after = func(c *ssh.Certificate) { c.KeyId = "root" } }},
		{"replayed on another key", plain, reason.KeyMismatch, func(s *sample) { s.key = s.keys.other }},
		{"key of another type", plain, m, func(s *sample) {
			by, err := ssh.NewSignerFromKey(s.keys.es256)
			if err != nil {
				panic(err)
			}
			s.by = by
			s.cert = func(c *ssh.Certificate) { c.Key = by.PublicKey() }
		}},
	}
}
