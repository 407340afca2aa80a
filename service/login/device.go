package login

import (
	"context"
	"errors"
	"net/http"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/client"
)

// leastPoll is the shortest pause between two questions to the management server.
const leastPoll = time.Second

// runDevice signs in with a code that the person types on another device (RFC 8628 in shape). The management server
// runs the browser's part; the tokens go to who proves, with each question, to have K.
func (a *attempt) runDevice(ctx context.Context) (*Login, error) {
	switch {
	case !a.issuer.Embedded || a.issuer.DeviceClientID == "":
		return nil, errors.New("this identity provider signs nobody in with a code; run 'lanyard login' where there is a browser")
	case !a.machine.Enrolled:
		return nil, errors.New("a sign-in with a code needs a machine that is part of the network; run 'lanyard up' with a setup key first")
	}
	s, err := a.Daemon.Login(ctx, api.LoginStart{
		Purpose: api.PurposeLogin, Issuer: a.issuer.URL, MachineName: a.machine.Name, Key: wireKey(a.login.Key), Salt: a.login.Salt, Device: true,
	})
	if err != nil {
		return nil, err
	}
	if s.DeviceCode == "" {
		return nil, errors.New("the management server knows no sign-in with a code; upgrade it, or run 'lanyard login' where there is a browser")
	}
	if err := checkURL(s.TokenURL); err != nil { // where the sign-in is refreshed
		return nil, err
	}
	a.say("On any device, open\n  %s\nand type the code  %s\nThe page must name %s. Waiting ...", printable(s.AuthURL), printable(s.ShortCode), printable(a.machine.Name))
	t, err := a.poll(ctx, s)
	if err != nil {
		return nil, err
	}
	if err := a.take(s, t.IDToken, t.RefreshToken); err != nil {
		return nil, err
	}
	return a.login, nil
}

// poll asks until the person has signed in. A server that is away for a while is waited for.
func (a *attempt) poll(ctx context.Context, s *api.LoginStarted) (*api.LoginCodeTokens, error) {
	pause := max(s.Interval.Duration(), leastPoll)
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
		t, err := a.server.LoginCode(ctx, client.Login{Key: a.login.Key, Salt: a.login.Salt}, s.DeviceCode)
		var refused *api.Error
		switch {
		case err == nil && !t.Pending:
			return t, nil
		case errors.As(err, &refused) && refused.Status == http.StatusTooManyRequests: // RFC 8628 §3.5, slow_down
			pause += leastPoll
			tick.Reset(pause)
		case errors.As(err, &refused) && refused.Status/100 == 4:
			return nil, err
		}
	}
}
