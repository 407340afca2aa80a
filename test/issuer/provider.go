package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"log"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// provider is the issuer's state.
type provider struct {
	url, client string
	mux         *http.ServeMux

	mu        sync.Mutex        // guards the rest
	key       *ecdsa.PrivateKey // signs
	kid       string
	shown     *ecdsa.PublicKey // published, with its kid
	shownKID  string
	codes     map[string]login
	refresh   map[string]login
	dropNonce bool
	down      bool
	invalid   bool
	slip      int // tokens to sign with another key
	backdate  time.Duration
	life      time.Duration
	groups    []string
	counts    struct {
		Refreshes int    `json:"refreshes"`
		Logins    int    `json:"logins"`
		JWKS      int    `json:"jwks"`
		KID       string `json:"kid"`
		Revoked   int    `json:"revoked"`
	}
}

// login is what a code or a refresh token stands for.
type login struct {
	subject, nonce, challenge, redirect string
	groups                              []string
}

func newProvider(at, client string) (*provider, error) {
	p := &provider{
		url: at, client: client, codes: map[string]login{}, refresh: map[string]login{}, life: time.Hour, mux: http.NewServeMux(),
	}
	if err := p.rotate(); err != nil {
		return nil, err
	}
	p.publish()
	base, err := url.Parse(at)
	if err != nil {
		return nil, err
	}
	for pattern, f := range map[string]http.HandlerFunc{
		"GET " + base.Path + "/.well-known/openid-configuration": p.discovery,
		"GET " + base.Path + "/keys":                             p.keys,
		"GET " + base.Path + "/auth":                             p.form,
		"POST " + base.Path + "/auth":                            p.signIn,
		"POST " + base.Path + "/token":                           p.token,
		"POST " + base.Path + "/revoke":                          p.revoke,
		"GET /control":                                           p.tell,
		"POST /control":                                          p.control,
	} {
		p.mux.HandleFunc(pattern, f)
	}
	return p, nil
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	down := p.down
	p.mu.Unlock()
	log.Println(r.Method, r.URL.Path)
	if down && r.URL.Path != "/control" {
		panic(http.ErrAbortHandler)
	}
	p.mux.ServeHTTP(w, r)
}

func random() string {
	b := make([]byte, 16)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// rotate makes a new key and forgets the old one. The caller holds p.mu, or is alone.
func (p *provider) rotate() (err error) {
	p.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p.kid = random()
	return err
}

// publish shows the key that signs. The caller holds p.mu, or is alone.
func (p *provider) publish() { p.shown, p.shownKID = &p.key.PublicKey, p.kid }

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (p *provider) discovery(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{
		"issuer": p.url, "authorization_endpoint": p.url + "/auth", "token_endpoint": p.url + "/token", "revocation_endpoint": p.url + "/revoke", "end_session_endpoint": p.url + "/bye?now=1", "jwks_uri": p.url + "/keys",
		"response_types_supported": []string{"code"}, "code_challenge_methods_supported": []string{"S256"},
	})
}

func (p *provider) keys(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts.JWKS++
	point, err := p.shown.Bytes()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	b64 := base64.RawURLEncoding.EncodeToString
	answer(w, http.StatusOK, map[string]any{"keys": []any{map[string]string{
		"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": p.shownKID, "x": b64(point[1:33]), "y": b64(point[33:]), "x5t": "left out",
	}}})
}

var page = template.Must(template.New("").Parse(`<!doctype html><title>Work</title><form method="post" action="?{{.}}">
<input name="login"><input name="password" type="password"><button>Sign in</button></form>`))

func (p *provider) form(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("client_id") != p.client || q.Get("code_challenge_method") != "S256" || q.Get("nonce") == "" || q.Get("prompt") != "select_account" {
		http.Error(w, "not a request of Lanyard's", http.StatusBadRequest)
		return
	}
	_ = page.Execute(w, template.URL(r.URL.RawQuery))
}

// signIn takes any password but an empty one: the part before the '@' is the subject.
func (p *provider) signIn(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	subject, _, _ := strings.Cut(r.PostFormValue("login"), "@")
	if subject == "" || r.PostFormValue("password") == "" {
		http.Error(w, "wrong", http.StatusForbidden)
		return
	}
	code := random()
	p.mu.Lock()
	p.codes[code] = login{subject, q.Get("nonce"), q.Get("code_challenge"), q.Get("redirect_uri"), p.groups}
	p.mu.Unlock()
	back := url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {p.url}}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusSeeOther)
}

func (p *provider) token(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var l login
	var ok bool
	switch r.PostFormValue("grant_type") {
	case "authorization_code":
		l, ok = p.codes[r.PostFormValue("code")]
		delete(p.codes, r.PostFormValue("code"))
		sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
		ok = ok && base64.RawURLEncoding.EncodeToString(sum[:]) == l.challenge && r.PostFormValue("redirect_uri") == l.redirect
		if ok {
			p.counts.Logins++
		}
	case "refresh_token":
		p.counts.Refreshes++
		l, ok = p.refresh[r.PostFormValue("refresh_token")]
		ok = ok && !p.invalid
		delete(p.refresh, r.PostFormValue("refresh_token")) // good once
	}
	if !ok || r.PostFormValue("client_id") != p.client {
		answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
		return
	}
	now := time.Now().Add(-p.backdate)
	claims := jwt.MapClaims{
		"iss": p.url, "sub": l.subject, "aud": p.client, "iat": now.Unix(), "exp": now.Add(p.backdate + p.life).Unix(),
		"email": l.subject + "@work.example", "email_verified": true, "name": l.subject,
		"realm_access": map[string]any{"roles": l.groups},
	}
	if r.PostFormValue("grant_type") != "refresh_token" || !p.dropNonce {
		claims["nonce"] = l.nonce
	}
	t := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	t.Header["kid"] = p.kid
	key := p.key
	if p.slip > 0 {
		p.slip--
		key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader) // it never fails
	}
	raw, err := t.SignedString(key)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	next := random()
	p.refresh[next] = l
	answer(w, http.StatusOK, map[string]any{
		"access_token": "a", "token_type": "Bearer", "expires_in": int(p.life.Seconds()), "refresh_token": next, "id_token": raw,
	})
}

// revoke is RFC 7009.
func (p *provider) revoke(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.PostFormValue("client_id") != p.client {
		answer(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
		return
	}
	if _, ok := p.refresh[r.PostFormValue("token")]; ok {
		delete(p.refresh, r.PostFormValue("token"))
		p.counts.Revoked++
	}
	w.WriteHeader(http.StatusOK)
}

func (p *provider) tell(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts.KID = p.kid
	answer(w, http.StatusOK, p.counts)
}

func (p *provider) control(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for name := range r.PostForm {
		v := r.PostForm.Get(name)
		var err error
		switch name {
		case "nonce":
			p.dropNonce = v == "drop"
		case "backdate":
			p.backdate, err = time.ParseDuration(v)
		case "life":
			p.life, err = time.ParseDuration(v)
		case "rotate":
			if err = p.rotate(); err == nil && v != "hidden" {
				p.publish()
			}
		case "publish":
			p.publish()
		case "groups":
			p.groups = strings.Split(v, ",")
		case "down":
			p.down = v == "1"
		case "grant":
			p.invalid = v == "invalid"
		case "slip":
			p.slip, err = strconv.Atoi(v)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
}
