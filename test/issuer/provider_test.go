package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

const (
	callback = "http://127.0.0.1:1/callback"
	verifier = "a verifier of some length"
)

// relying is a program that signs people in at the provider.
type relying struct {
	t   *testing.T
	url string // of the issuer
	at  string // of the server
	c   *http.Client
}

func open(t *testing.T) *relying {
	t.Helper()
	cert, pem, err := certificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(nil)
	r := &relying{t: t, at: "https://" + s.Listener.Addr().String()}
	r.url = r.at + "/realms/work"
	p, err := newProvider(r.url, "lanyard")
	if err != nil {
		t.Fatal(err)
	}
	s.Config.Handler, s.TLS = p, &tls.Config{Certificates: []tls.Certificate{cert}}
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	r.c = &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(r.c.CloseIdleConnections)
	return r
}

// post sends a form; a GET where there is none.
func (r *relying) post(at string, form url.Values) (status int, body []byte, to *url.URL, err error) {
	var res *http.Response
	if form == nil {
		res, err = r.c.Get(at)
	} else {
		res, err = r.c.PostForm(at, form)
	}
	if err != nil {
		return 0, nil, nil, err
	}
	defer res.Body.Close()
	if body, err = io.ReadAll(res.Body); err != nil {
		return 0, nil, nil, err
	}
	to, _ = res.Location()
	return res.StatusCode, body, to, nil
}

// get reads JSON.
func (r *relying) get(at string, v any) {
	r.t.Helper()
	status, body, _, err := r.post(at, nil)
	if err == nil {
		err = json.Unmarshal(body, v)
	}
	if err != nil || status != http.StatusOK {
		r.t.Fatalf("%s: %d, %v: %s", at, status, err, body)
	}
}

func (r *relying) set(name, value string) {
	r.t.Helper()
	if status, body, _, err := r.post(r.at+"/control", url.Values{name: {value}}); err != nil || status != http.StatusOK {
		r.t.Fatalf("%s=%s: %d, %v: %s", name, value, status, err, body)
	}
}

type tokens struct {
	ID      string `json:"id_token"`
	Refresh string `json:"refresh_token"`
	Error   string `json:"error"`
}

func (r *relying) token(form url.Values) (got tokens) {
	r.t.Helper()
	form.Set("client_id", "lanyard")
	_, body, _, err := r.post(r.url+"/token", form)
	if err == nil {
		err = json.Unmarshal(body, &got)
	}
	if err != nil {
		r.t.Fatalf("%v: %s", err, body)
	}
	return got
}

func (r *relying) refresh(token string) tokens {
	r.t.Helper()
	return r.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
}

// claims are those of a token that a published key has signed.
func (r *relying) claims(token string) (jwt.MapClaims, error) {
	r.t.Helper()
	c := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(token, c, func(t *jwt.Token) (any, error) {
		var all struct{ Keys []struct{ KID, X, Y string } }
		r.get(r.url+"/keys", &all)
		for _, k := range all.Keys {
			if k.KID == t.Header["kid"] {
				x, err := base64.RawURLEncoding.DecodeString(k.X)
				y, err2 := base64.RawURLEncoding.DecodeString(k.Y)
				if err := errors.Join(err, err2); err != nil {
					return nil, err
				}
				return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
			}
		}
		return nil, fmt.Errorf("the key %v is not published", t.Header["kid"])
	}, jwt.WithIssuer(r.url), jwt.WithAudience("lanyard"))
	return c, err
}

// login signs ann in by the form.
func (r *relying) login() tokens {
	r.t.Helper()
	challenge := sha256.Sum256([]byte(verifier))
	ask := r.url + "/auth?" + url.Values{
		"client_id": {"lanyard"}, "code_challenge_method": {"S256"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])},
		"nonce": {"n1"}, "state": {"s1"}, "prompt": {"select_account"}, "redirect_uri": {callback},
	}.Encode()
	if status, body, _, err := r.post(ask, nil); err != nil || !strings.Contains(string(body), "<form") {
		r.t.Fatalf("%d, %v: %s", status, err, body)
	}
	_, body, to, err := r.post(ask, url.Values{"login": {"ann@work.example"}, "password": {"x"}})
	if err != nil || to == nil || !strings.HasPrefix(to.String(), callback+"?") || to.Query().Get("state") != "s1" || to.Query().Get("iss") != r.url {
		r.t.Fatalf("sent to %v, %v: %s", to, err, body)
	}
	grant := func(verifier string) tokens {
		return r.token(url.Values{"grant_type": {"authorization_code"}, "code": {to.Query().Get("code")}, "code_verifier": {verifier}, "redirect_uri": {callback}})
	}
	got := grant(verifier)
	if again := grant(verifier); again.Error != "invalid_grant" {
		r.t.Errorf("a code is good twice: %+v", again)
	}
	return got
}

// Tests of how Lanyard gets along with other providers stand on what this one does.
func TestProviderBehavesAsItIsTold(t *testing.T) {
	r := open(t)
	var found struct{ Issuer string }
	r.get(r.url+"/.well-known/openid-configuration", &found)
	if found.Issuer != r.url {
		t.Errorf("the issuer is %q", found.Issuer)
	}
	r.set("groups", "web-team,ops")
	first := r.login()
	c, err := r.claims(first.ID)
	if err != nil || c["sub"] != "ann" || c["nonce"] != "n1" || fmt.Sprint(c["realm_access"]) != "map[roles:[web-team ops]]" {
		t.Errorf("%v, %v", c, err)
	}
	kept := r.refresh(first.Refresh)
	if c, err := r.claims(kept.ID); err != nil || c["nonce"] != "n1" {
		t.Errorf("refreshed: %v, %v", c, err)
	}
	if again := r.refresh(first.Refresh); again.Error != "invalid_grant" {
		t.Errorf("a refresh token is good twice: %+v", again)
	}
	r.set("nonce", "drop")
	dropped := r.refresh(kept.Refresh)
	if c, err := r.claims(dropped.ID); err != nil || c["nonce"] != nil {
		t.Errorf("without a nonce: %v, %v", c, err)
	}
	r.set("rotate", "hidden")
	hidden := r.refresh(dropped.Refresh)
	if c, err := r.claims(hidden.ID); err == nil || !strings.Contains(err.Error(), "is not published") {
		t.Errorf("signed by a key that is hidden: %v, %v", c, err)
	}
	r.set("publish", "1")
	if _, err := r.claims(hidden.ID); err != nil {
		t.Error(err)
	}
	r.set("slip", "1")
	slipped := r.refresh(hidden.Refresh)
	if c, err := r.claims(slipped.ID); err == nil || strings.Contains(err.Error(), "is not published") {
		t.Errorf("signed by another key than it says: %v, %v", c, err)
	}
	if _, err := r.claims(r.refresh(slipped.Refresh).ID); err != nil {
		t.Error(err)
	}
	r.set("down", "1")
	if status, body, _, err := r.post(r.url+"/keys", nil); err == nil {
		t.Errorf("down, it answers %d: %s", status, body)
	}
	r.set("down", "0")
	var told struct{ Refreshes, Logins int }
	r.get(r.at+"/control", &told)
	if told.Refreshes != 6 || told.Logins != 1 {
		t.Errorf("it counted %+v", told)
	}
}

func TestWrongVerifierGetsNoToken(t *testing.T) {
	r := open(t)
	ask := r.url + "/auth?" + url.Values{"client_id": {"lanyard"}, "code_challenge": {"another's"}, "redirect_uri": {callback}}.Encode()
	_, _, to, err := r.post(ask, url.Values{"login": {"ann@work.example"}, "password": {"x"}})
	if err != nil || to == nil {
		t.Fatal(to, err)
	}
	got := r.token(url.Values{"grant_type": {"authorization_code"}, "code": {to.Query().Get("code")}, "code_verifier": {verifier}, "redirect_uri": {callback}})
	if got.Error != "invalid_grant" || got.ID != "" {
		t.Errorf("%+v", got)
	}
}
