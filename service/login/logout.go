package login

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/client"
)

// Bounds of how long a logout waits for others.
const (
	logoutLimit = 15 * time.Second // the management server
	revokeLimit = 5 * time.Second  // the identity provider
)

// ErrProviderNotTold is returned when all of a login has ended but the refresh token, which another provider than the
// management server's own may still take. It is deleted here.
var ErrProviderNotTold = errors.New("you are signed out, but the identity provider could not be told; it forgets the sign-in when that runs out")

// Logout ends the login on the machine peer: at the management server, which ends its sessions, at the provider, and
// here. The files go whatever the others say; their error is returned beside, so that the person knows what may live on.
func (c Config) Logout(ctx context.Context, peer, serverURL string, all bool) (*api.Effect, error) {
	l, err := Load(c.Paths, peer)
	if errors.Is(err, ErrNotSignedIn) {
		return nil, errors.Join(err, Forget(c.Paths, c.Store, peer))
	}
	if err != nil {
		return nil, err
	}
	var locked error // a locked keychain must not keep anybody signed in
	l.Record, locked = LoadRecord(c.Store, peer)
	if l.Record.Server == "" {
		l.Record.Server = serverURL
	}
	if l.Record.RefreshToken != "" && !Fresh(c.Paths, peer, 0, c.now()) {
		// The management server takes the word of a young token only.
		_ = c.Refresh(ctx, peer, 0) // it may be too late for that
	}
	// A refresh that is under way, such as the tray's, would write its files and its newer refresh token after they went.
	wait, cancel := context.WithTimeout(ctx, refreshLimit)
	defer cancel()
	if t, _, err := takeTurn(wait, c.Paths, "refresh", nil); err == nil {
		defer t.leave()
	}
	record := l.Record
	if newest, err := Load(c.Paths, peer); err == nil {
		l = newest
		l.Record = record
	}
	if locked == nil { // else it is not asked twice
		if newest, err := LoadRecord(c.Store, peer); err == nil {
			l.Record = newest
		}
	}
	effect, told := tellLogout(ctx, l, all)
	if err := c.revoke(ctx, l); told == nil && err != nil {
		told = fmt.Errorf("%w (%w)", ErrProviderNotTold, err)
	}
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
	return server.Logout(ctx, l.Login, api.LogoutRequest{All: all})
}

// revoke tells a provider that is not the management server's own that its refresh token is not needed any more
// (RFC 7009), and the person where the browser ends the rest. The own one ends a login's token with the login, and has
// browsers remember nothing.
func (c Config) revoke(ctx context.Context, l *Login) error {
	r := l.Record
	server, err := client.New(r.Server)
	if err != nil || r.Issuer == "" || sameHost(r.TokenURL, server.URL("/")) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, revokeLimit)
	defer cancel()
	doc, err := discover(ctx, r.Issuer)
	if err == nil && c.AlsoAt != nil && doc.EndSessionEndpoint != "" && checkEndpoint(r.Issuer, doc.EndSessionEndpoint) == nil {
		c.AlsoAt(endSession(doc.EndSessionEndpoint, r.ClientID, l.Claims.Email))
	}
	if r.RefreshToken == "" {
		return nil
	}
	if err != nil {
		return err
	}
	if doc.RevocationEndpoint == "" {
		return errors.New("it takes back no tokens")
	}
	if err := checkEndpoint(r.Issuer, doc.RevocationEndpoint); err != nil {
		return err
	}
	form := url.Values{"token": {r.RefreshToken}, "token_type_hint": {"refresh_token"}, "client_id": {r.ClientID}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, doc.RevocationEndpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := abroad().Do(req)
	if err != nil {
		return plain(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("it answered %s", printable(res.Status))
	}
	return nil
}

func sameHost(a, b string) bool {
	u, err1 := url.Parse(a)
	v, err2 := url.Parse(b)
	return err1 == nil && err2 == nil && u.Scheme == v.Scheme && u.Host == v.Host
}

// endSession is the page of OpenID Connect RP-Initiated Logout 1.0 §2. It has no id_token_hint: addresses are seen by
// others. The provider asks whom it does not know for sure.
func endSession(endpoint, clientID, email string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return endpoint
	}
	q := u.Query()
	q.Set("client_id", clientID)
	if email != "" {
		q.Set("logout_hint", email)
	}
	u.RawQuery = q.Encode()
	return u.String()
}
