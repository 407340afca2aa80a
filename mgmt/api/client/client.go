// Package client speaks to a management server over HTTPS.
//
// Every request that is not about public facts carries a proof of possession (api/proof): by the machine key for
// what a machine may do, by the login's key K beside the ID token for what a person may do. A token alone opens
// nothing (RFC 9449).
package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"lanyard/mgmt/api"
)

// Client talks to one management server.
type Client struct {
	base *url.URL // scheme and host only
	http *http.Client
	now  func() time.Time
}

// Machine signs for a machine. Subject is the peer's id, empty before it is enrolled.
type Machine struct {
	Key     ed25519.PrivateKey
	Subject string
}

// Login signs for a person: K, its salt and the tokens bound to it.
type Login struct {
	Key          ed25519.PrivateKey
	Salt         []byte
	Bound, Fresh string // Fresh may be empty, or a renewal
}

// LoginHeaders are the two headers that prove a login for one request.
type LoginHeaders struct {
	Authorization string // "DPoP <id token>"
	Proof         string // value of api.HeaderProof
}

// New makes a client for baseURL: "https://host[:port]", with "#sha256=HEX" when the server has a CA of its own.
// Plain http is accepted for loopback addresses only.
func New(baseURL string) (*Client, error) {
	base, pin, err := Parse(baseURL)
	if err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = tlsConfig(pin, base.Hostname())
	t.ResponseHeaderTimeout = 20 * time.Second
	t.MaxIdleConnsPerHost = 2
	return &Client{base: base, now: time.Now, http: &http.Client{
		Transport: t,
		// A proof is for one URL; the server has no reason to send anyone elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Parse splits a server address into its URL and its pin (nil without one).
func Parse(s string) (*url.URL, []byte, error) {
	u, err := url.Parse(strings.TrimSpace(s))
	if err != nil || u.Host == "" {
		return nil, nil, fmt.Errorf("%q is not the address of a management server; it looks like https://host:port#sha256=…", s)
	}
	switch {
	case u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") != "":
		return nil, nil, fmt.Errorf("the address %q must be a scheme and a host only", s)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, nil, fmt.Errorf("plain http is for loopback only; use https://%s", u.Host)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, nil, fmt.Errorf("the address %q must begin with https://", s)
	}
	var pin []byte
	if u.Fragment != "" {
		h, ok := strings.CutPrefix(u.Fragment, "sha256=")
		pin, err = hex.DecodeString(h)
		if !ok || err != nil || len(pin) != sha256.Size {
			return nil, nil, fmt.Errorf("the pin %q must be sha256= and 64 hexadecimal digits; copy the whole join command", u.Fragment)
		}
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, pin, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// tlsConfig checks the server against the pin, where there is one: the chain that the server sends must hold a CA
// certificate with that hash, and the server's own must verify against it, for host. nil: the system's roots.
func tlsConfig(pin []byte, host string) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if pin == nil {
		return c
	}
	c.InsecureSkipVerify = true // VerifyConnection below verifies; Go offers no other way to choose the root late
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return errors.New("the management server showed no certificate")
		}
		roots, between := x509.NewCertPool(), x509.NewCertPool()
		found := false
		for _, cert := range s.PeerCertificates[1:] {
			if h := sha256.Sum256(cert.Raw); cert.IsCA && bytes.Equal(h[:], pin) {
				roots.AddCert(cert)
				found = true
				continue
			}
			between.AddCert(cert)
		}
		if !found {
			return errOtherCertificate
		}
		_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{
			DNSName: host, // not s.ServerName, which is empty for an address
			Roots:   roots, Intermediates: between,
		})
		return err
	}
	return c
}

// HTTP is the client's own *http.Client, which checks the pin; for oauth2 (oauth2.HTTPClient).
func (c *Client) HTTP() *http.Client { return c.http }

// URL is the server's scheme and host with path.
func (c *Client) URL(path string) string { return c.base.String() + path }

// Config asks what anyone may know.
func (c *Client) Config(ctx context.Context) (*api.Config, error) {
	cfg, err := call[api.Config](ctx, c, http.MethodGet, api.RouteConfig, nil, nil)
	if err != nil {
		return nil, err
	}
	switch {
	case cfg.MinVersion > api.Version:
		return nil, fmt.Errorf("the management server speaks protocol %d and later, this program %d; upgrade Lanyard on this machine", cfg.MinVersion, api.Version)
	case cfg.Version < api.MinVersion:
		return nil, fmt.Errorf("the management server speaks protocol %d, this program needs %d; upgrade the management server", cfg.Version, api.MinVersion)
	}
	return cfg, nil
}

// Enroll makes the machine a peer by a setup key.
func (c *Client) Enroll(ctx context.Context, m Machine, r api.EnrollRequest) (*api.EnrollReply, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return c.EnrollBody(ctx, m, body, nil)
}

// EnrollBody sends body exactly as it is, with a person's proof over it unless login is nil.
func (c *Client) EnrollBody(ctx context.Context, m Machine, body []byte, login *LoginHeaders) (*api.EnrollReply, error) {
	h, err := c.machineHeader(m, http.MethodPost, api.RouteEnroll, body)
	if err != nil {
		return nil, err
	}
	if login != nil {
		login.set(h)
	}
	return call[api.EnrollReply](ctx, c, http.MethodPost, api.RouteEnroll, body, h)
}

// Login pushes an authorization request for a person at the machine.
func (c *Client) Login(ctx context.Context, m Machine, r api.LoginStart) (*api.LoginStarted, error) {
	return machineCall[api.LoginStarted](ctx, c, m, api.RouteLogin, r)
}

func machineCall[T any](ctx context.Context, c *Client, m Machine, route string, in any) (*T, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	h, err := c.machineHeader(m, http.MethodPost, route, body)
	if err != nil {
		return nil, err
	}
	return call[T](ctx, c, http.MethodPost, route, body, h)
}

// LoginCode asks for the tokens of a sign-in with a code, which l's key asked for. Only Key and Salt of l are needed.
func (c *Client) LoginCode(ctx context.Context, l Login, deviceCode string) (*api.LoginCodeTokens, error) {
	return loginCall[api.LoginCodeTokens](ctx, c, Login{Key: l.Key, Salt: l.Salt, Bound: deviceCode}, http.MethodPost, api.RouteLoginCode, api.LoginCodePoll{})
}

// Session asks a person to sign in for one SSH session on the machine m.
func (c *Client) Session(ctx context.Context, m Machine, r api.SessionStart) (*api.SessionStarted, error) {
	return machineCall[api.SessionStarted](ctx, c, m, api.RouteSession, r)
}

// SessionCode asks whether they did.
func (c *Client) SessionCode(ctx context.Context, m Machine, r api.SessionPoll) (*api.SessionToken, error) {
	return machineCall[api.SessionToken](ctx, c, m, api.RouteSessionCode, r)
}

// Seen registers a login or its refreshed token.
func (c *Client) Seen(ctx context.Context, l Login) (*api.Me, error) {
	return loginCall[api.Me](ctx, c, l, http.MethodPost, api.RouteSeen, nil)
}

// Renew trades a refreshed token without a nonce for the management server's word (sshd/token, Renewal).
func (c *Client) Renew(ctx context.Context, l Login, refreshed string) (string, error) {
	r, err := loginCall[api.RenewReply](ctx, c, l, http.MethodPost, api.RouteRenew, api.RenewRequest{Token: refreshed})
	if err != nil {
		return "", err
	}
	return r.Renewal, nil
}

// Me asks what the server knows of the person.
func (c *Client) Me(ctx context.Context, l Login) (*api.Me, error) {
	return loginCall[api.Me](ctx, c, l, http.MethodGet, api.RouteMe, nil)
}

// Logout ends the login, or all of the person's.
func (c *Client) Logout(ctx context.Context, l Login, r api.LogoutRequest) (*api.Effect, error) {
	return loginCall[api.Effect](ctx, c, l, http.MethodPost, api.RouteLogout, r)
}

// Explain asks what the policy says.
func (c *Client) Explain(ctx context.Context, l Login, r api.ExplainRequest) (*api.ExplainReply, error) {
	return loginCall[api.ExplainReply](ctx, c, l, http.MethodPost, api.RouteExplain, r)
}

func (h *LoginHeaders) set(to http.Header) {
	to.Set("Authorization", h.Authorization)
	to.Set(api.HeaderProof, h.Proof)
}

func loginCall[T any](ctx context.Context, c *Client, l Login, method, route string, in any) (*T, error) {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return nil, err
		}
	}
	p, err := c.LoginProof(l, method, route, body)
	if err != nil {
		return nil, err
	}
	h := http.Header{}
	p.set(h)
	return call[T](ctx, c, method, route, body, h)
}

// maxAnswer bounds what is read of one answer.
const maxAnswer = 8 << 20

func call[T any](ctx context.Context, c *Client, method, route string, body []byte, h http.Header) (*T, error) {
	// The whole exchange is bounded even when the caller's context is not: these are small requests.
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.URL(route), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if h != nil {
		req.Header = h
	}
	req.Header.Set(api.HeaderVersion, strconv.Itoa(api.Version))
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, c.unreachable(err)
	}
	if res.StatusCode/100 != 2 {
		return nil, c.refusal(res, b)
	}
	out := new(T)
	if len(b) == 0 {
		return out, nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return nil, fmt.Errorf("the answer of %s to %s cannot be read; is it a Lanyard management server? %w", c.base, route, err)
	}
	return out, nil
}

// refusal makes an *api.Error of an answer that is not 2xx.
func (c *Client) refusal(res *http.Response, body []byte) error {
	e := &api.Error{}
	if json.Unmarshal(body, e) != nil || e.Message == "" {
		e.Message = fmt.Sprintf("%s answered %s; is it a Lanyard management server?", c.base, res.Status)
	}
	e.Status, e.Message, e.Code = res.StatusCode, sentence(e.Message), sentence(e.Code)
	return e
}

// maxSentence is how much is shown of what a server says, in bytes.
const maxSentence = 2 << 10

// sentence is what a server says, for people to read: one line, and nothing that steers a terminal. Whoever answers at the
// address says it, be it the management server or not.
func sentence(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, s[:min(len(s), maxSentence)])
}

// errOtherCertificate is how a server fails the pin.
var errOtherCertificate = errors.New("the management server's certificate is not the one that the join command names; " +
	"either its CA was made anew (ask for a new join command) or somebody is in between")

// notTheServer is an ErrUnreachable that does not say so: something does answer.
type notTheServer struct{ error }

func (notTheServer) Is(target error) bool { return target == ErrUnreachable }

// ErrUnreachable is wrapped by errors of a server that did not answer.
var ErrUnreachable = errors.New("the management server does not answer")

func (c *Client) unreachable(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(err, errOtherCertificate) {
		return notTheServer{fmt.Errorf("at %s %w", c.base, errOtherCertificate)}
	}
	var cert *tls.CertificateVerificationError
	if errors.As(err, &cert) {
		return fmt.Errorf("the certificate of %s is not trusted: %w; a server with a CA of its own needs the address with its pin (#sha256=…)", c.base, cert.Err)
	}
	return fmt.Errorf("%w at %s: %w", ErrUnreachable, c.base, err)
}

func readBody(res *http.Response) []byte {
	if res.Body == nil {
		return nil
	}
	b, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	return b
}
