package login

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
	"lanyard/sshd/token"
)

// withCode makes the stub answer the questions for a sign-in with a code in turn; the last answer stands.
func (s *stub) withCode(polls ...func(http.ResponseWriter)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.device, s.polls, s.polled = "lanyard-device", polls, 0
}

func says(v any) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { json.NewEncoder(w).Encode(v) }
}

func refuses(status int, code reason.Code) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(api.Error{Status: status, Code: string(code), Message: code.Sentence()})
	}
}

// tokens are bound to the key that asked, or to another salt.
func (s *stub) tokens(salt []byte) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		if salt == nil {
			salt = s.start.Salt
		}
		says(api.LoginCodeTokens{IDToken: s.idToken("ann", token.Nonce(salt, s.start.Key)), RefreshToken: "refresh"})(w)
	}
}

func TestLoginWithACodeWaitsForItsPerson(t *testing.T) {
	s := newStub(t)
	c := s.config(t)
	c.Device = true
	var said []string
	c.Say = func(line string) { said = append(said, line) }
	c.Open = func(string) error { t.Error("a browser was opened"); return nil }
	pending := says(api.LoginCodeTokens{Pending: true})
	gone := func(http.ResponseWriter) { panic(http.ErrAbortHandler) } // the server is away for a moment
	s.withCode(pending, refuses(http.StatusTooManyRequests, reason.TooMany), gone, s.tokens(nil))
	r, err := c.Login(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(said, "\n"); !strings.Contains(text, s.srv.URL+"/device") || !strings.Contains(text, "BCDF-GHJK") || !strings.Contains(text, "laptop") {
		t.Errorf("said %q", text)
	}
	if q := s.start; !q.Device || q.RedirectURI != "" || q.State != "" || q.CodeChallenge != "" {
		t.Errorf("asked for %+v", q)
	}
	l, err := Load(c.Paths, peerID)
	if err != nil || l.Bound != r.Login.Bound {
		t.Fatalf("what is kept: %v", err)
	}
	rec, err := LoadRecord(c.Store, peerID)
	if err != nil || rec.ClientID != "lanyard-device" || rec.RefreshToken != "refresh" {
		t.Errorf("%+v, %v", rec, err)
	}
}

func TestLoginWithACodeThatEndsKeepsNothing(t *testing.T) {
	for name, c := range map[string]struct {
		poll func(*stub) func(http.ResponseWriter)
		want string
	}{
		"nobody signed in":            {func(*stub) func(http.ResponseWriter) { return refuses(http.StatusGone, reason.SignInExpired) }, "in time"},
		"the person is blocked":       {func(*stub) func(http.ResponseWriter) { return refuses(http.StatusForbidden, reason.Blocked) }, "blocked"},
		"the tokens are of other key": {func(s *stub) func(http.ResponseWriter) { return s.tokens(make([]byte, 32)) }, "another key"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStub(t)
			cfg := s.config(t)
			cfg.Device = true
			s.withCode(c.poll(s))
			if _, err := cfg.Login(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
			if _, err := Load(cfg.Paths, peerID); err == nil {
				t.Error("a login is kept")
			}
		})
	}
}

func TestLoginWithACodeNeedsAProviderThatHasThem(t *testing.T) {
	s := newStub(t)
	cfg := s.config(t)
	cfg.Device = true
	if _, err := cfg.Login(t.Context()); err == nil || !strings.Contains(err.Error(), "browser") {
		t.Errorf("%v", err)
	}
}
