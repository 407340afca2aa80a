package login

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"golang.org/x/oauth2"

	"lanyard/mgmt/api"
	"lanyard/sshd/token"
)

// startDirect begins a login at a provider that is not the management server's own. There is no pushed request;
// prompt=select_account makes the provider's page ask, so that a link cannot sign somebody in silently.
func (a *attempt) startDirect(ctx context.Context, redirect string) (*api.LoginStarted, error) {
	doc, err := discover(ctx, a.issuer.URL)
	if err != nil {
		return nil, err
	}
	scopes := a.issuer.Scopes
	if len(scopes) == 0 {
		scopes = []string{"openid", "email", "profile", "offline_access"}
	}
	cfg := oauthConfig(a.issuer.ClientID, doc.TokenEndpoint)
	cfg.Endpoint.AuthURL, cfg.RedirectURL, cfg.Scopes = doc.AuthorizationEndpoint, redirect, scopes
	if err := a.place(ctx); err != nil {
		return nil, err
	}
	return &api.LoginStarted{
		AuthURL: cfg.AuthCodeURL(a.state, oauth2.S256ChallengeOption(a.verifier),
			oauth2.SetAuthURLParam("nonce", token.Nonce(a.login.Salt, wireKey(a.login.Key))),
			oauth2.SetAuthURLParam("prompt", "select_account")),
		TokenURL: doc.TokenEndpoint, ClientID: a.issuer.ClientID,
	}, nil
}

// place tells the management server on which machine the login's key lies: the login ends when the machine is lost. An
// enrolment tells that itself, and an older server does not want to know.
func (a *attempt) place(ctx context.Context) error {
	if !a.machine.Enrolled {
		return nil
	}
	_, err := a.Daemon.Login(ctx, api.LoginStart{
		Purpose: api.PurposeLogin, Issuer: a.issuer.URL, MachineName: a.machine.Name, Key: wireKey(a.login.Key), Salt: a.login.Salt,
	})
	var refused *api.Error
	if errors.As(err, &refused) && refused.Status == http.StatusBadRequest {
		return nil
	}
	return err
}

// discovery is the part of OpenID Connect Discovery 1.0 §3 that a login needs.
type discovery struct {
	Issuer                string `json:"issuer"`
	AuthorizationEndpoint string `json:"authorization_endpoint"`
	TokenEndpoint         string `json:"token_endpoint"`
	RevocationEndpoint    string `json:"revocation_endpoint"`  // RFC 8414 §2; empty: it has none
	EndSessionEndpoint    string `json:"end_session_endpoint"` // OpenID Connect RP-Initiated Logout 1.0 §2.1; empty: it has none
}

func discover(ctx context.Context, issuer string) (*discovery, error) {
	at := strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"
	if err := checkURL(at); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	res, err := abroad().Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the identity provider: %w", err)
	}
	defer res.Body.Close()
	var d discovery
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&d); err != nil || res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the identity provider %s does not describe itself (%s)", issuer, printable(res.Status))
	}
	if d.Issuer != issuer {
		return nil, errMixUp
	}
	return &d, errors.Join(checkEndpoint(issuer, d.TokenEndpoint), checkEndpoint(issuer, d.AuthorizationEndpoint))
}

// abroadLimit bounds one question to a provider.
const abroadLimit = 30 * time.Second

// abroad is the client for providers that are not the management server's own. None sends anybody elsewhere: whoever is
// named there would be told a code or a refresh token, and programs of this machine be asked what they answer nobody else.
func abroad() *http.Client {
	return &http.Client{
		Timeout:       abroadLimit,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// checkEndpoint is checkURL for an address that the provider names itself: what is on the web names nothing on this machine.
func checkEndpoint(issuer, raw string) error {
	if strings.HasPrefix(issuer, "https://") && !strings.HasPrefix(raw, "https://") {
		return fmt.Errorf("the identity provider %s names the address %q, which is not https; nothing is sent there", issuer, raw)
	}
	return checkURL(raw)
}

// checkURL refuses to send a code or a token over an open line.
func checkURL(raw string) error {
	u, err := url.Parse(raw)
	if err == nil && u.Host != "" {
		ip := net.ParseIP(u.Hostname())
		if u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()) {
			return nil
		}
	}
	return fmt.Errorf("the address %q of the identity provider is not https; nothing is sent there", raw)
}

// plain makes a sentence of an OAuth error, without the body that came with it.
func plain(err error) error {
	var r *oauth2.RetrieveError
	if errors.As(err, &r) {
		if r.ErrorCode != "" {
			return fmt.Errorf("the identity provider answered %.40q", r.ErrorCode)
		}
		return fmt.Errorf("the identity provider answered %s", printable(r.Response.Status))
	}
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// printable keeps foreign text from steering a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
