package token

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
)

// vectorFile is testdata/vectors.json. Other programs may test themselves against it: Map is what they trust,
// and each vector's certificate (SSH wire form) must give its code at its time.
type vectorFile struct {
	About   string   `json:"about"`
	Map     api.Map  `json:"map"`
	MapKey  []byte   `json:"map_key"` // verifies renewals
	Vectors []vector `json:"vectors"`
}

type vector struct {
	Name string `json:"name"`
	// Twin names the accepted vector from which this one differs in one thing.
	Twin        string      `json:"twin,omitempty"`
	Now         time.Time   `json:"now"`
	Certificate []byte      `json:"certificate"`
	Code        reason.Code `json:"code"`
	Identity    *Identity   `json:"identity,omitempty"`
}

const (
	testIssuer = "https://id.example/dex"
	soloIssuer = "https://solo.example" // one key, without kid
	testClient = "lanyard"
	// groupsIssuer has the groups in a claim inside a claim, as Keycloak does.
	groupsIssuer = "https://roles.example"
)

var testNow = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// keys are the provider's and the client's, all from fixed seeds.
type keys struct {
	login, other  ed25519.PrivateKey
	mapKey        ed25519.PrivateKey
	salt          []byte
	es256, foe    *ecdsa.PrivateKey
	es384         *ecdsa.PrivateKey
	rsa, weak     *rsa.PrivateKey
	ed, old, gone ed25519.PrivateKey
	bad           ed25519.PrivateKey // distrusted, though the issuer still publishes it
}

func fixedKeys(t testing.TB) *keys {
	t.Helper()
	ec := func(c elliptic.Curve, fill byte) *ecdsa.PrivateKey {
		k, err := ecdsa.ParseRawPrivateKey(c, bytes.Repeat([]byte{fill}, c.Params().BitSize/8))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	seed := func(fill byte) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{fill}, 32)) }
	k := &keys{
		login: seed(1), other: seed(2), salt: testSalt(testNow.Add(-10 * time.Minute)),
		es256: ec(elliptic.P256(), 4), foe: ec(elliptic.P256(), 5), es384: ec(elliptic.P384(), 6),
		ed: seed(7), old: seed(8), gone: seed(9), mapKey: seed(10), bad: seed(11),
	}
	return k
}

// withRSA adds the keys that cannot be made from a seed by hand; fixed only under cryptotest.SetGlobalRandom.
func (k *keys) withRSA(t testing.TB) *keys {
	t.Helper()
	var err error
	if k.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	if k.weak, err = rsa.GenerateKey(rand.Reader, 1024); err != nil {
		t.Fatal(err)
	}
	return k
}

func jwk(kid string, pub crypto.PublicKey, extra ...string) json.RawMessage {
	b64 := base64.RawURLEncoding.EncodeToString
	m := map[string]any{"use": "sig"}
	if kid != "" {
		m["kid"] = kid
	}
	switch p := pub.(type) {
	case *rsa.PublicKey:
		m["kty"], m["n"], m["e"] = "RSA", b64(p.N.Bytes()), b64(big.NewInt(int64(p.E)).Bytes())
	case *ecdsa.PublicKey:
		raw, err := p.Bytes()
		if err != nil {
			panic(err)
		}
		n := (len(raw) - 1) / 2
		m["kty"], m["crv"], m["x"], m["y"] = "EC", p.Params().Name, b64(raw[1:1+n]), b64(raw[1+n:])
	case ed25519.PublicKey:
		m["kty"], m["crv"], m["x"] = "OKP", "Ed25519", b64(p)
	}
	for i := 0; i < len(extra); i += 2 {
		m[extra[i]] = extra[i+1]
	}
	raw, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return raw
}

// testMap is what the vectors are checked against.
func (k *keys) testMap() api.Map {
	goneAt := json.RawMessage(strings.TrimSuffix(string(jwk("gone", k.gone.Public())), "}") + `,"lanyard_withdrawn_at":1777874400}`) // 06:00
	m := api.Map{
		Format: 1, IssuedAt: testNow.Add(-time.Hour),
		Issuers: []api.Issuer{
			{
				URL: testIssuer, ClientID: testClient, DeviceClientID: "lanyard-device", SessionClientID: "lanyard-session", EmailDomains: []string{"example.org"},
				Keys:       []json.RawMessage{jwk("es256", k.es256.Public()), jwk("es384", k.es384.Public()), jwk("ed", k.ed.Public()), jwk("enc", k.foe.Public(), "use", "enc"), jwk("bad", k.bad.Public())},
				Withdrawn:  []json.RawMessage{jwk("old", k.old.Public()), goneAt},
				Distrusted: []api.KeyRef{{KID: "bad", ID: thumbprint(k.bad.Public())}},
			},
			{URL: soloIssuer, ClientID: testClient, Keys: []json.RawMessage{jwk("", k.foe.Public())}, IATBackdate: 300, LoginLifetime: 3600},
			{URL: groupsIssuer, ClientID: testClient, GroupsClaim: "realm_access.roles", Keys: []json.RawMessage{jwk("foe", k.foe.Public())}},
		},
		Users: []api.MapUser{{UserRef: api.UserRef{Issuer: testIssuer, Subject: "out"}, NotBefore: testNow.Add(-10 * time.Minute)}},
	}
	if k.rsa != nil {
		m.Issuers[0].Keys = append(m.Issuers[0].Keys, jwk("rsa", k.rsa.Public()), jwk("weak", k.weak.Public()))
	}
	wire, err := ssh.NewPublicKey(k.other.Public())
	if err != nil {
		panic(err)
	}
	m.RevokedKeys = []string{Thumbprint(wire.Marshal())}
	return m
}

// tok is an ID token in the making.
type tok struct {
	header, claims map[string]any
	key            any
	edit           func(claims string) string // changes the claims' JSON
	editHeader     func(header string) string
}

func (k *keys) tok(nonce string) *tok {
	return &tok{
		header: map[string]any{"alg": "ES256", "kid": "es256", "typ": "JWT"},
		claims: map[string]any{
			"iss": testIssuer, "sub": "ann", "aud": testClient, "nonce": nonce,
			"iat": testNow.Unix() - 600, "exp": testNow.Unix() + 3000,
			"email": "ann@example.org", "email_verified": true, "name": "Ann", "groups": []string{"ops"},
			"amr": []string{"pwd", "otp"}, "acr": "2", "auth_time": testNow.Unix() - 660,
		},
		key: k.es256,
	}
}

func (t *tok) sign(tb testing.TB) string {
	tb.Helper()
	part := func(m map[string]any, edit func(string) string) string {
		raw, err := json.Marshal(m)
		if err != nil {
			tb.Fatal(err)
		}
		s := string(raw)
		if edit != nil {
			s = edit(s)
		}
		return base64.RawURLEncoding.EncodeToString([]byte(s))
	}
	input := part(t.header, t.editHeader) + "." + part(t.claims, t.edit)
	alg, _ := t.header["alg"].(string)
	method := jwt.GetSigningMethod(alg)
	if alg == "none" || method == nil {
		method = jwt.SigningMethodES256
	}
	sig, err := method.Sign(input, t.key)
	if err != nil {
		tb.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// sample is one vector in the making.
type sample struct {
	keys  *keys
	key   ed25519.PrivateKey // the login's
	bound *tok
	fresh *tok // may be nil
	// renewal stands in for fresh, signed by renewBy.
	renewal     *Renewal
	renewBy     ed25519.PrivateKey
	editRenewal func(string) string
	raw         string
	ext         func(map[string]string)
	cert        func(*ssh.Certificate)
	by          ssh.Signer // signs the certificate; nil: the login key
	after       func(*ssh.Certificate)
	now         time.Time
	began       bool // when the login began is what the case is about
}

func wire(key ed25519.PrivateKey) []byte {
	pub, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		panic(err)
	}
	return pub.Marshal()
}

func newSample(k *keys) *sample {
	own := *k // its salt may change
	return &sample{keys: &own, key: k.login, bound: k.tok(Nonce(k.salt, wire(k.login))), now: testNow}
}

// testSalt is the salt of a login that began then.
func testSalt(began time.Time) []byte {
	salt := bytes.Repeat([]byte{3}, SaltSize)
	binary.BigEndian.PutUint64(salt, uint64(began.Unix()))
	return salt
}

// settle makes the login begin when its bound token was issued.
func (s *sample) settle() {
	iat, ok := s.bound.claims["iat"].(int64)
	if !ok || s.began || CheckBegan(s.keys.salt, time.Unix(iat, 0)) == nil {
		return
	}
	old := Nonce(s.keys.salt, wire(s.key))
	s.keys.salt = testSalt(time.Unix(iat, 0))
	for _, t := range []*tok{s.bound, s.fresh} {
		if t != nil && t.claims["nonce"] == old {
			t.claims["nonce"] = Nonce(s.keys.salt, wire(s.key))
		}
	}
}

// refreshed gives s a bound token of the morning and a fresh one of now.
func refreshed(s *sample) {
	s.fresh = s.keys.tok(s.bound.claims["nonce"].(string))
	s.fresh.claims["groups"] = []string{"ops", "new"}
	delete(s.fresh.claims, "amr")
	s.bound.claims["iat"], s.bound.claims["exp"] = testNow.Unix()-6*3600, testNow.Unix()-5*3600
}

// traded gives s a bound token of the morning and a renewal of now.
func traded(s *sample) {
	refreshed(s)
	s.fresh = nil
	s.renewal = &Renewal{
		Issuer: testIssuer, Subject: "ann", Thumbprint: Thumbprint(wire(s.key)), Key: thumbprint(s.keys.es256.Public()),
		Issued: testNow.Add(-10 * time.Minute), Expires: testNow.Add(50 * time.Minute),
		Email: "ann@example.org", EmailVerified: true, Name: "Ann", Groups: []string{"ops", "new"},
	}
	s.renewBy = s.keys.mapKey
}

func (s *sample) certificate(tb testing.TB) *ssh.Certificate {
	tb.Helper()
	signer, err := ssh.NewSignerFromKey(s.key)
	if err != nil {
		tb.Fatal(err)
	}
	s.settle()
	ext := map[string]string{ExtIDToken: s.raw, ExtSalt: string(s.keys.salt)}
	if s.raw == "" {
		ext[ExtIDToken] = s.bound.sign(tb)
	}
	if s.fresh != nil {
		ext[ExtFresh] = s.fresh.sign(tb)
	}
	if s.renewal != nil {
		r := *s.renewal
		if r.Login == "" {
			r.Login = LoginID(ext[ExtIDToken])
		}
		raw, err := SignRenewal(s.renewBy, r)
		if err != nil {
			tb.Fatal(err)
		}
		ext[ExtRenewal] = raw
		if s.editRenewal != nil {
			ext[ExtRenewal] = s.editRenewal(raw)
		}
	}
	if s.ext != nil {
		s.ext(ext)
	}
	c := &ssh.Certificate{Key: signer.PublicKey(), CertType: ssh.UserCert, KeyId: "lanyard", ValidBefore: ssh.CertTimeInfinity, Permissions: ssh.Permissions{Extensions: ext}}
	if s.cert != nil {
		s.cert(c)
	}
	by := signer
	if s.by != nil {
		by = s.by
	}
	if err := c.SignCert(rand.Reader, by); err != nil {
		tb.Fatal(err)
	}
	if s.after != nil {
		s.after(c)
	}
	return c
}

// trust is what a peer has that pinned MapKey.
func (f *vectorFile) trust(tb testing.TB) *Trust {
	tb.Helper()
	trust, err := TrustFromMap(&f.Map)
	if err != nil {
		tb.Fatal(err)
	}
	trust.MapKey = f.MapKey
	return trust
}

func generate(t *testing.T) vectorFile {
	cryptotest.SetGlobalRandom(t, 20260504)
	k := fixedKeys(t).withRSA(t)
	f := vectorFile{
		About: "Certificates of sshd/token: what a server that trusts the map must answer to each. " +
			"Made by 'go test ./sshd/token -run TestVectors -update' from fixed seeds; the keys are nobody's.",
		Map: k.testMap(), MapKey: k.mapKey.Public().(ed25519.PublicKey),
	}
	trust := f.trust(t)
	for _, c := range cases() {
		s := newSample(k)
		if c.twin != "" {
			caseNamed(c.twin).change(s)
		}
		c.change(s)
		cert := s.certificate(t)
		v := vector{Name: c.name, Twin: c.twin, Now: s.now, Certificate: cert.Marshal(), Code: c.code}
		if c.code == reason.OK {
			v.Identity, _ = trust.VerifyCertificate(cert, s.now)
		}
		f.Vectors = append(f.Vectors, v)
	}
	return f
}
