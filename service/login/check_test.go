package login

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
)

// Only the server's word that a sign-in has ended counts against it; a blocked person's stays, so that ssh says why.
func TestCheckTellsWhatEndedASignIn(t *testing.T) {
	for _, c := range []struct {
		name          string
		refuse        *api.Error
		down          bool
		refused, gone bool
	}{
		{name: "good"},
		{name: "blocked", refuse: &api.Error{Status: http.StatusForbidden, Code: string(reason.Blocked), Message: "no"}, refused: true},
		{name: "revoked", refuse: &api.Error{Status: http.StatusUnauthorized, Code: string(reason.Revoked), Message: "no"}, refused: true, gone: true},
		{name: "logout", refuse: &api.Error{Status: http.StatusUnauthorized, Code: string(reason.Logout), Message: "no"}, refused: true, gone: true},
		{name: "too old to tell", refuse: &api.Error{Status: http.StatusUnauthorized, Code: string(reason.TokenExpired), Message: "no"}},
		{name: "the server fails", refuse: &api.Error{Status: http.StatusInternalServerError, Code: string(reason.Internal), Message: "no"}},
		{name: "silence", down: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStub(t)
			cfg := s.config(t)
			if _, err := cfg.Login(context.Background()); err != nil {
				t.Fatal(err)
			}
			s.mu.Lock()
			s.refuse, s.down = c.refuse, c.down
			s.mu.Unlock()
			err := cfg.Check(t.Context(), peerID, s.srv.URL)
			if refused := (*api.Error)(nil); errors.As(err, &refused) != c.refused || (err != nil) != c.refused {
				t.Errorf("it says %v", err)
			}
			if _, err := Load(cfg.Paths, peerID); errors.Is(err, ErrNotSignedIn) != c.gone {
				t.Errorf("the sign-in afterwards: %v", err)
			}
			_, err = LoadRecord(cfg.Store, peerID)
			if (err != nil) != c.gone {
				t.Errorf("the keystore afterwards: %v", err)
			}
		})
	}
}
