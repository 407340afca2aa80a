package daemon

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/client"
	"lanyard/mgmt/api/reason"
	"lanyard/sshd"
)

const (
	// promptLimit is how long somebody who connects waits for their prompt when the management server is silent.
	promptLimit = 8 * time.Second
	leastPoll   = time.Second
)

// signIn has the management server ask for a person, for one SSH session.
func (n *network) signIn(ctx context.Context, q sshd.SignInRequest) (*sshd.SignIn, error) {
	me := client.Machine{Key: n.d.machine.Key(), Subject: q.Server}
	short, cancel := context.WithTimeout(ctx, promptLimit)
	defer cancel()
	s, err := n.client.Session(short, me, api.SessionStart{
		SessionID: q.ID, HostKey: q.HostKey, LocalUser: q.LocalUser, Source: q.Source, Salt: q.Salt,
	})
	if err != nil {
		return nil, signInError(err)
	}
	var taken atomic.Bool
	return &sshd.SignIn{
		URL: s.URL, Code: s.Code, Life: s.ExpiresIn.Duration(),
		Wait: func(ctx context.Context) (raw string, err error) {
			raw, err = n.awaitSignIn(ctx, me, s)
			taken.Store(err == nil)
			return raw, err
		},
		End: func() {
			if taken.Load() {
				return
			}
			n.d.wg.Go(func() { // the code dies with the connection that it was for
				ctx, cancel := context.WithTimeout(context.Background(), promptLimit)
				defer cancel()
				if _, err := n.client.SessionCode(ctx, me, api.SessionPoll{ID: s.ID, Cancel: true}); err != nil {
					n.d.log.Debug("a sign-in that nobody waits for was not cancelled", "err", err)
				}
			})
		},
	}, nil
}

// awaitSignIn polls. A management server that is away for a while is waited for.
func (n *network) awaitSignIn(ctx context.Context, me client.Machine, s *api.SessionStarted) (string, error) {
	tick := time.NewTicker(max(s.Interval.Duration(), leastPoll))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-tick.C:
		}
		t, err := n.client.SessionCode(ctx, me, api.SessionPoll{ID: s.ID})
		var refused *api.Error
		switch {
		case err == nil && t.IDToken != "":
			return t.IDToken, nil
		case errors.As(err, &refused) && refused.Status/100 == 4 && refused.Status != http.StatusTooManyRequests:
			return "", signInError(err)
		}
	}
}

// signInError gives an error the reason that the person is told.
func signInError(err error) error {
	code := reason.SignInDown
	var refused *api.Error
	if errors.As(err, &refused) && reason.Code(refused.Code).Known() {
		code = reason.Code(refused.Code)
	}
	return reason.Errorf(code, "%v", err)
}
