// Package idp is the embedded OpenID provider: dex as a library, with its objects in the management server's
// database.
//
// It is stricter than dex by itself. It starts no authorization but one that an enrolled machine (or one that is
// about to be enrolled) pushed first: nonce, PKCE challenge and redirect never travel through the browser, and a
// page that names the machine and the account asks before the password form appears. What continues is tied by a
// cookie to the browser that pressed the button. Only S256 (RFC 7636 §4.2) and loopback redirects
// (RFC 8252 §7.3) exist. Sessions are off: every login asks, and every refresh looks at the person again.
//
// Sign-ins that are confirmed on another device (code.go) are RFC 8628 in shape, but not dex's device flow, which takes
// no nonce and gives the tokens to whoever has the device code: the provider runs an ordinary authorization code flow
// with itself and keeps the code for the one who asked.
package idp

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/dexidp/dex/server"
	"github.com/dexidp/dex/server/authflow"
	"github.com/dexidp/dex/server/signer"
	"github.com/dexidp/dex/server/tokens"
	"github.com/dexidp/dex/storage"
	"golang.org/x/crypto/bcrypt"

	"lanyard/mgmt/api"
	"lanyard/mgmt/store"
)

const (
	// ClientID is the client of sign-ins in a browser on the machine that asks. Those with a code that is typed
	// elsewhere have clients of their own, which take their answers here: tokens of one kind never pass for another's.
	ClientID        = "lanyard"
	DeviceClientID  = "lanyard-device"
	SessionClientID = "lanyard-session"
	// localConnector is dex's id for people whose passwords are kept here.
	localConnector = "local"

	flowLife = 5 * time.Minute // from the push to the code
	// reuse is how long a rotated refresh token still answers, for a client that lost the reply.
	reuse = 10 * time.Second
	// keyLife: a month between new signing keys. A machine that is away from the management server refuses tokens
	// of a key it never heard of, so they change rarely.
	keyLife = 30 * 24 * time.Hour
	// keysFresh is how long the published keys are remembered between looks.
	keysFresh = 10 * time.Minute
)

// Config is what a Provider needs.
type Config struct {
	URL      string // of the management server, without a slash at the end
	Store    *store.Store
	Settings store.Settings
	Log      *slog.Logger
	Now      func() time.Time
	// KeysChanged is called when the provider has a new signing key.
	KeysChanged func()
	// PasswordCost of bcrypt; 0: 12.
	PasswordCost int
}

// Provider is a running OpenID provider.
type Provider struct {
	Config
	issuer string
	base   string // path of the issuer, "/dex"
	secure bool   // cookies over https only
	dex    *server.Server
	db     storage.Storage // what dex sees
	signer signer.Signer
	slow   throttle // passwords
	typed  throttle // codes
	decoy  []byte   // hash for people who do not exist: checking takes as long as for those who do
	stop   context.CancelFunc

	mu       sync.Mutex // guards keys
	keys     api.Issuer
	keysRead time.Time
}

// Issuer is the provider's issuer for a management server at url.
func Issuer(url string) string { return url + "/dex" }

// Open starts the provider. Close ends it.
func Open(ctx context.Context, cfg Config) (*Provider, error) {
	u, err := url.Parse(Issuer(cfg.URL))
	if err != nil {
		return nil, fmt.Errorf("the address %q of the management server cannot be read: %w", cfg.URL, err)
	}
	if cfg.PasswordCost == 0 {
		cfg.PasswordCost = 12
	}
	p := &Provider{Config: cfg, issuer: Issuer(cfg.URL), base: u.Path, secure: u.Scheme == "https"}
	p.slow.now, p.typed.now = cfg.Now, cfg.Now
	if p.decoy, err = bcrypt.GenerateFromPassword([]byte(api.NewID("")), cfg.PasswordCost); err != nil {
		return nil, err
	}
	log := slog.New(quiet{cfg.Log.Handler()})
	p.db = storage.WithStaticClients(&live{Storage: cfg.Store.Dex(), p: p}, []storage.Client{
		{ID: ClientID, Name: "Lanyard", Public: true},
		{ID: DeviceClientID, Name: "Lanyard", Public: true, RedirectURIs: []string{p.ownCallback()}},
		{ID: SessionClientID, Name: "Lanyard", Public: true, RedirectURIs: []string{p.ownCallback()}},
	})
	err = p.db.CreateConnector(ctx, storage.Connector{ID: localConnector, Type: "local", Name: "Password", ResourceVersion: "1", Config: []byte("{}")})
	if err != nil && err != storage.ErrAlreadyExists {
		return nil, fmt.Errorf("prepare the embedded provider: %w", err)
	}
	p.signer, err = (&signer.LocalConfig{KeysRotationPeriod: keyLife.String(), Algorithm: "ES256"}).
		Open(ctx, p.db, cfg.Settings.TokenLifetime, cfg.Now, log)
	if err != nil {
		return nil, fmt.Errorf("open the provider's signing keys: %w", err)
	}
	background, stop := context.WithCancel(context.Background())
	p.stop = stop
	life := cfg.Settings.LoginLifetime
	p.dex, err = server.NewServer(background, server.Config{
		Issuer: p.issuer, Storage: p.db, Signer: p.signer, Logger: log, Now: cfg.Now,
		AllowedGrantTypes:      []string{"authorization_code", "refresh_token"},
		SupportedResponseTypes: []string{"code"},
		SkipApprovalScreen:     true, // our own page has asked
		IDTokensValidFor:       cfg.Settings.TokenLifetime,
		AuthRequestsValidFor:   flowLife,
		RefreshTokenPolicy:     tokens.NewRefreshStrategy(true, life, life, reuse, cfg.Now),
		PKCE:                   authflow.PKCEConfig{Enforce: true, CodeChallengeMethodsSupported: []string{"S256"}},
		Web:                    server.WebConfig{WebFS: assets{}, Issuer: "Lanyard"},

		ContinueOnConnectorFailure: true,
	})
	if err != nil {
		stop()
		return nil, fmt.Errorf("start the embedded provider: %w", err)
	}
	return p, nil
}

// Close ends the background work.
func (p *Provider) Close() error {
	p.stop()
	return nil
}

// Issuer describes the provider with its keys, as maps carry it.
func (p *Provider) Issuer(ctx context.Context) (api.Issuer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.Now()
	if p.keys.URL != "" && now.Sub(p.keysRead) < keysFresh {
		return p.keys, nil
	}
	keys, err := p.signer.ValidationKeys(ctx)
	if err != nil {
		return api.Issuer{}, fmt.Errorf("read the provider's keys: %w", err)
	}
	is := p.Public()
	published := map[string]json.RawMessage{}
	for _, k := range keys {
		b, err := json.Marshal(k.Public())
		if err != nil {
			return api.Issuer{}, err
		}
		is.Keys = append(is.Keys, b)
		published[k.KeyID] = b
	}
	is.Withdrawn, err = p.Store.SawIssuerKeys(ctx, p.issuer, published, now.Add(-p.Settings.LoginLifetime-time.Hour))
	if err != nil {
		return api.Issuer{}, fmt.Errorf("note the provider's keys: %w", err)
	}
	p.keys, p.keysRead = is, now
	return is, nil
}

// Public describes the provider without keys.
func (p *Provider) Public() api.Issuer {
	return api.Issuer{
		URL: p.issuer, Name: "Lanyard", ClientID: ClientID, DeviceClientID: DeviceClientID, SessionClientID: SessionClientID, Embedded: true, LoginLifetime: api.Secs(p.Settings.LoginLifetime),
		Scopes: []string{"openid", "profile", "email", "groups", "offline_access"},
	}
}

// keysMoved forgets the remembered keys after a new one was made.
func (p *Provider) keysMoved() {
	p.mu.Lock()
	p.keysRead = time.Time{}
	p.mu.Unlock()
	if p.KeysChanged != nil {
		p.KeysChanged()
	}
}

// quiet passes on what is a warning or worse: dex tells every step.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && q.Handler.Enabled(ctx, l)
}
func (q quiet) WithAttrs(a []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(a)} }
func (q quiet) WithGroup(name string) slog.Handler   { return quiet{q.Handler.WithGroup(name)} }

// headers are those of every page and answer.
func headers(w http.ResponseWriter) {
	h := w.Header()
	// No form-action: browsers apply it to the redirect to the loopback listener too.
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
}

func (p *Provider) path(s string) string { return strings.TrimPrefix(s, p.base) }
