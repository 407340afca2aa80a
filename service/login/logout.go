package login

import (
	"context"
	"errors"
	"net/url"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/client"
)

// logoutLimit bounds how long a logout waits for the management server.
const logoutLimit = 15 * time.Second

// Logout ends the login on the machine peer: at the management server, which ends its sessions, and here. The files
// go whatever the server says; its error is returned beside, so that the person knows that sessions may live on.
func (c Config) Logout(ctx context.Context, peer, serverURL string, all bool) (*api.Effect, error) {
	l, err := Load(c.Paths, peer)
	if errors.Is(err, ErrNotSignedIn) {
		return nil, errors.Join(err, Forget(c.Paths, c.Store, peer))
	}
	if err != nil {
		return nil, err
	}
	l.Record, _ = LoadRecord(c.Store, peer) // a locked keychain must not keep anybody signed in
	if l.Record.Server == "" {
		l.Record.Server = serverURL
	}
	effect, told := tellLogout(ctx, l, all)
	if err := Forget(c.Paths, c.Store, peer); err != nil {
		return effect, err
	}
	return effect, told
}

func tellLogout(ctx context.Context, l *Login, all bool) (*api.Effect, error) {
	server, err := client.New(l.Record.Server)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, logoutLimit)
	defer cancel()
	return server.Logout(ctx, l.Login, api.LogoutRequest{All: all, RefreshToken: l.Record.RefreshToken})
}

func sameHost(a, b string) bool {
	u, err1 := url.Parse(a)
	v, err2 := url.Parse(b)
	return err1 == nil && err2 == nil && u.Scheme == v.Scheme && u.Host == v.Host
}
