package login

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"testing"

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
