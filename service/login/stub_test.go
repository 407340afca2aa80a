package login

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lanyard/mgmt/api"
	"lanyard/platform/paths"
	"lanyard/service/ipc"
	"lanyard/service/keystore"
	"lanyard/sshd/token"
)

const peerID = "p234567abcdefghij"

// stub is a management server with a provider, as far as a login sees them, and the daemon in front of it.
type stub struct {
	t   *testing.T
	srv *httptest.Server
	key ed25519.PrivateKey

	mu        sync.Mutex
	start     api.LoginStart // guarded by mu, like all below
	code      string
	refreshes int
	logins    int
	seen      int
	loggedOut int
	refresh   string // the refresh token that is good
	life      time.Duration
	nonce     func(bound string) string // of refreshed tokens; nil: the same
	subject   string                    // of refreshed tokens
	refuse    *api.Error                // what RouteSeen, RouteMe and RouteRenew answer
	refusals  int                       // how often; 0: always
	grantErr  string                    // what the token endpoint answers a refresh
	down      bool                      // nothing answers
	slow      time.Duration             // of a refresh
	begun     chan struct{}             // hears of each refresh; may be nil
	device    string                    // client id of sign-ins with a code; none when empty
	other     bool                      // the provider is not the management server's own
	elsewhere map[string]string         // paths, and where they send whoever asks
	polls     []func(w http.ResponseWriter)
	polled    int
}

func newStub(t *testing.T) *stub {
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	s := &stub{t: t, key: key, life: time.Hour, subject: "ann"}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+api.RouteConfig, func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(api.Config{Version: 1, MinVersion: 1, Issuers: []api.Issuer{{URL: s.srv.URL, Embedded: !s.other, ClientID: "lanyard", DeviceClientID: s.device}}})
	})
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(discovery{Issuer: s.srv.URL, AuthorizationEndpoint: s.srv.URL + "/auth", TokenEndpoint: s.srv.URL + "/token"})
	})
	mux.HandleFunc("POST /token", s.token)
	mux.HandleFunc("POST "+api.RouteLoginCode, func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.Header.Get(api.HeaderProof) == "" || r.Header.Get("Authorization") != "DPoP the-device-code" {
			s.t.Error("RouteLoginCode without a proof or the code")
		}
		s.polled++ // first: an answer may be none at all
		s.polls[min(s.polled, len(s.polls))-1](w)
	})
	mux.HandleFunc("POST "+api.RouteSeen, func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.Header.Get(api.HeaderProof) == "" || !strings.HasPrefix(r.Header.Get("Authorization"), "DPoP ") {
			s.t.Error("RouteSeen without a proof")
		}
		if s.refused(w) {
			return
		}
		s.seen++
		json.NewEncoder(w).Encode(api.Me{Email: "ann@example.com", Machines: []api.Reach{{Name: "web-1"}}})
	})
	mux.HandleFunc("GET "+api.RouteMe, func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.Header.Get(api.HeaderProof) == "" || !strings.HasPrefix(r.Header.Get("Authorization"), "DPoP ") {
			s.t.Error("RouteMe without a proof")
		}
		if !s.refused(w) {
			json.NewEncoder(w).Encode(api.Me{Email: "ann@example.com"})
		}
	})
	mux.HandleFunc("POST "+api.RouteRenew, func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.refused(w) {
			w.WriteHeader(http.StatusNotFound) // as an older one, which has no such route
		}
	})
	mux.HandleFunc("POST "+api.RouteLogout, func(w http.ResponseWriter, r *http.Request) {
		var q api.LogoutRequest
		json.NewDecoder(r.Body).Decode(&q)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.loggedOut++
		json.NewEncoder(w).Encode(api.Effect{Reached: []string{"web-1"}})
	})
	s.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		down, to := s.down, s.elsewhere[r.URL.Path]
		s.mu.Unlock()
		if to != "" {
			http.Redirect(w, r, to, http.StatusTemporaryRedirect) // with the same method and body
			return
		}
		if down {
			panic(http.ErrAbortHandler)
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(s.srv.Close)
	return s
}

// refused answers with the refusal, where there is one. The caller holds s.mu.
func (s *stub) refused(w http.ResponseWriter) bool {
	if s.refuse == nil {
		return false
	}
	w.WriteHeader(s.refuse.Status)
	json.NewEncoder(w).Encode(s.refuse)
	if s.refusals > 0 {
		if s.refusals--; s.refusals == 0 {
			s.refuse = nil
		}
	}
	return true
}

func (s *stub) token(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	bound := token.Nonce(s.start.Salt, s.start.Key)
	sub, nonce := "ann", bound
	w.Header().Set("Content-Type", "application/json")
	switch r.FormValue("grant_type") {
	case "authorization_code":
		sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
		if r.FormValue("code") != s.code || base64.RawURLEncoding.EncodeToString(sum[:]) != s.start.CodeChallenge || r.FormValue("redirect_uri") != s.start.RedirectURI {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":"invalid_grant"}`)
			return
		}
		s.code = "used"
		s.logins++
	case "refresh_token":
		s.refreshes++
		if s.begun != nil {
			select {
			case s.begun <- struct{}{}:
			default:
			}
		}
		if s.slow > 0 {
			d := s.slow // a slow provider: lets the other processes queue up, and everything else go on
			s.mu.Unlock()
			time.Sleep(d)
			s.mu.Lock()
		}
		if s.grantErr != "" || r.FormValue("refresh_token") != s.refresh {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"error":%q}`, s.grantErr)
			return
		}
		sub = s.subject
		if s.nonce != nil {
			nonce = s.nonce(bound)
		}
	}
	s.refresh = random()
	json.NewEncoder(w).Encode(map[string]any{
		"access_token": "a", "token_type": "bearer", "expires_in": 300, "refresh_token": s.refresh,
		"id_token": s.idToken(sub, nonce),
	})
}

func (s *stub) idToken(sub, nonce string) string {
	now := time.Now().Unix()
	claims := map[string]any{
		"iss": s.srv.URL, "sub": sub, "aud": "lanyard", "email": "ann@example.com",
		"iat": now, "exp": now + int64(s.life.Seconds()),
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	body, _ := json.Marshal(claims)
	enc := base64.RawURLEncoding.EncodeToString
	signed := enc([]byte(`{"alg":"EdDSA","kid":"k"}`)) + "." + enc(body)
	return signed + "." + enc(ed25519.Sign(s.key, []byte(signed)))
}

func (s *stub) Machine(context.Context) (*ipc.Machine, error) {
	return &ipc.Machine{Server: s.srv.URL, Enrolled: true, PeerID: peerID, Name: "laptop"}, nil
}

func (s *stub) Login(_ context.Context, q api.LoginStart) (*api.LoginStarted, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.start, s.code = q, random()
	if q.Device {
		return &api.LoginStarted{
			AuthURL: s.srv.URL + "/device", ShortCode: "BCDF-GHJK", TokenURL: s.srv.URL + "/token", ClientID: s.device, DeviceCode: "the-device-code", Interval: 1,
		}, nil
	}
	return &api.LoginStarted{AuthURL: s.srv.URL + "/auth", ShortCode: "WXYZ-1234", TokenURL: s.srv.URL + "/token", ClientID: "lanyard"}, nil
}

// answer is the good answer to the login that is under way.
func (s *stub) answer() (to string, q url.Values) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.start.RedirectURI, url.Values{"state": {s.start.State}, "code": {s.code}, "iss": {s.srv.URL}}
}

// config is a person's Config in a home of its own, with a browser that answers at once.
func (s *stub) config(t *testing.T) Config {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("LANYARD_STATE_DIR", filepath.Join(home, "state"))
	return s.configHere()
}

func (s *stub) configHere() Config {
	p := paths.User("default")
	return Config{
		Paths: p, Store: keystore.Open(p.Login, nil, nil), Daemon: s,
		Say: func(line string) { s.t.Log(line) },
		Open: func(string) error {
			to, q := s.answer()
			go get(to + "?" + q.Encode())
			return nil
		},
	}
}

func get(u string) (int, string) {
	res, err := http.Get(u)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b := make([]byte, 4096)
	n, _ := res.Body.Read(b)
	return res.StatusCode, string(b[:n])
}

func mode(t *testing.T, name string) os.FileMode {
	t.Helper()
	fi, err := os.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Mode()
}
