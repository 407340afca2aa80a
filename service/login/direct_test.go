package login

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"lanyard/mgmt/api"
	"lanyard/sshd/token"
)

// direct makes the stub's provider one that is not the management server's own.
func (s *stub) direct(t *testing.T) (c Config, opened *int) {
	s.other = true
	c, opened = s.config(t), new(int)
	c.Open = func(page string) error {
		*opened++
		u, err := url.Parse(page)
		if err != nil {
			return err
		}
		q := u.Query()
		s.mu.Lock()
		if q.Get("nonce") != token.Nonce(s.start.Salt, s.start.Key) {
			s.t.Error("the page opened before the management server was told of this key")
		}
		s.start.State, s.start.RedirectURI, s.start.CodeChallenge, s.code = q.Get("state"), q.Get("redirect_uri"), q.Get("code_challenge"), random()
		s.mu.Unlock()
		to, answer := s.answer()
		go get(to + "?" + answer.Encode())
		return nil
	}
	return c, opened
}

// A sign-in at another provider ends with its machine, too: before its page opens the management server is told on which
// machine the key lies.
func TestSignInAtAnotherProviderTellsFirstWhereItsKeyLies(t *testing.T) {
	s := newStub(t)
	c, opened := s.direct(t)
	if _, err := c.Login(t.Context()); err != nil || *opened != 1 {
		t.Fatal(*opened, err)
	}
	l, err := Load(c.Paths, peerID)
	if err != nil {
		t.Fatal(err)
	}
	if s.start.Purpose != api.PurposeLogin || s.start.Issuer != s.srv.URL || !bytes.Equal(s.start.Key, wireKey(l.Key)) {
		t.Errorf("told %+v", s.start)
	}
}

// An older management server does not want to know; with any other refusal nothing is opened.
func TestSignInAtAnotherProviderWhenNobodyNotesIt(t *testing.T) {
	for status, want := range map[int]int{http.StatusBadRequest: 1, http.StatusTooManyRequests: 0, http.StatusInternalServerError: 0} {
		s := newStub(t)
		c, opened := s.direct(t)
		c.Daemon = refusing{s, &api.Error{Status: status, Message: "No."}}
		if _, err := c.Login(t.Context()); (err == nil) != (want == 1) || *opened != want {
			t.Errorf("%d: %d pages, %v", status, *opened, err)
		}
	}
}

// A provider that sends its people elsewhere would have this machine hand their codes and refresh tokens over there, or ask
// what listens on its own loopback.
func TestProviderSendsNobodyElsewhere(t *testing.T) {
	var asked atomic.Int32
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer trap.Close()
	s := newStub(t)
	c, _ := s.direct(t)
	sends := func(path string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.elsewhere = map[string]string{path: trap.URL}
	}
	for _, path := range []string{"/.well-known/openid-configuration", "/token"} {
		sends(path)
		if _, err := c.Login(t.Context()); err == nil {
			t.Errorf("signed in by what %s sent elsewhere", path)
		}
	}
	sends("")
	if _, err := c.Login(t.Context()); err != nil {
		t.Fatal(err)
	}
	sends("/token")
	if err := c.Refresh(t.Context(), peerID, time.Nanosecond); err == nil {
		t.Error("refreshed by what the provider sent elsewhere")
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("somebody else was asked %d times", n)
	}
}

func TestProviderOnTheWebNamesNothingOnThisMachine(t *testing.T) {
	const web = "https://id.example.com/realms/work"
	for raw, good := range map[string]bool{
		"https://login.example.com/token": true, "http://127.0.0.1:2375/containers/create": false, "http://localhost/x": false, "http://[::1]:80/x": false,
		"http://id.example.com/token": false, "HTTP://127.0.0.1/x": false, "file:///etc/passwd": false, "javascript:alert(1)": false, "//127.0.0.1/x": false, "": false,
	} {
		if err := checkEndpoint(web, raw); (err == nil) != good {
			t.Errorf("%q: %v", raw, err)
		}
	}
	if err := checkEndpoint("http://127.0.0.1:5556/dex", "http://127.0.0.1:5556/dex/token"); err != nil {
		t.Error(err)
	}
}

// refusing takes note, for the test, and answers with a refusal.
type refusing struct {
	*stub
	err *api.Error
}

func (r refusing) Login(ctx context.Context, q api.LoginStart) (*api.LoginStarted, error) {
	if _, err := r.stub.Login(ctx, q); err != nil {
		return nil, errors.Join(r.err, err)
	}
	return nil, r.err
}

func TestProvidersWordsSteerNoTerminal(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 500 \x1b]0;title\x07\u202e\r\nContent-Length: 0\r\n\r\n")
	}))
	defer srv.Close()
	_, err := discover(t.Context(), srv.URL)
	if err == nil || strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }) || !strings.Contains(err.Error(), "title") {
		t.Errorf("%q", err)
	}
}
