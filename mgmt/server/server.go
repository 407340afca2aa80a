// Package server is the management server's HTTP side: what machines, people and administrators may ask.
//
// Machines prove every request with their machine key, people with the key of their login beside its token;
// administrators come through the Unix socket in the state folder or with a scoped API token. Nothing is open to
// who merely has an ID token.
package server

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/control"
	"lanyard/mgmt/idp"
	"lanyard/mgmt/idp/mirror"
	"lanyard/mgmt/store"
	"lanyard/platform/paths"
)

// Config says how to serve. The zero value of most fields is the default.
type Config struct {
	State string // folder
	// HTTP is a loopback address for plain HTTP; used when Listen is empty.
	HTTP string
	// Listen is an address for HTTPS: with the server's own CA, or with the certificate of Domain or CertFile.
	Listen string
	// Domain is the server's public name; its certificate comes from the ACME server (RFC 8555) of ACMEDirectory,
	// Let's Encrypt when empty, which is trusted by the certificates in ACMECAFile (PEM) beside the system's.
	// Listen is ":443" when empty.
	Domain, ACMEDirectory, ACMECAFile string
	// CertFile and KeyFile hold a certificate of somebody else's making (PEM). They are read again when they change.
	CertFile, KeyFile string
	// URL is how peers and browsers reach the server; empty: made of the address.
	URL string
	// Overlay4 is the IPv4 range of the network; it can be chosen until the first machine joins. Zero: as it is.
	Overlay4 netip.Prefix
	Release  string
	Log      *slog.Logger
	Now      func() time.Time
	// PasswordCost of bcrypt; 0: the provider's default.
	PasswordCost int
	// Lifetimes and bounds; zero: as they are.
	MaxMapAge, LoginGrace, LoginLifetime, TokenLifetime time.Duration

	patience time.Duration // with the answers of machines and of other providers; zero: as each of them has it
}

const (
	requestTime  = 30 * time.Second
	shutdownTime = 5 * time.Second
	sweepEvery   = 10 * time.Minute
	setupLife    = time.Hour
)

// Server is a running management server.
type Server struct {
	cfg      Config
	log      *slog.Logger
	now      func() time.Time
	store    *store.Store
	settings store.Settings
	idp      *idp.Provider
	mirror   *mirror.Mirror
	control  *control.Control
	certs    certificates // nil on plain HTTP
	url      string
	hosts    []string // own names, for proofs
	pushes   bucket   // sign-ins begun, by machine
	asks     bucket   // the same, by local account of a machine
	sessions bucket   // sign-ins for single sessions begun, by machine
	polls    bucket   // by sign-in
	asked    bucket   // for keys that a machine does not know
	audits   bucket   // bytes of audit events, by machine

	listener, admin net.Listener
	web, adminWeb   *http.Server
	opened          chan struct{} // closed when Open is done
	life            context.Context
	end             context.CancelFunc
	running         sync.WaitGroup
	following       sync.WaitGroup

	mu        sync.Mutex // guards auditMore
	auditMore chan struct{}

	setupSecret string // drawn at this start; empty when there is an administrator
}

// Open opens the state and listens; Serve answers. Close ends all.
func Open(ctx context.Context, cfg Config) (_ *Server, err error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Server{
		cfg: cfg, log: cfg.Log, now: cfg.Now,
		asked: bucket{burst: 3, refill: 20 * time.Second}, auditMore: make(chan struct{}),
		opened: make(chan struct{}),
	}
	// One account of a machine cannot use up what the machine may do: the others go on signing in.
	s.pushes = bucket{burst: 60, refill: time.Second}
	s.asks = bucket{burst: 20, refill: 5 * time.Second}
	s.sessions = bucket{burst: 60, refill: time.Second}
	s.polls = bucket{burst: 10, refill: time.Second}
	// A full spool at once, then 250 kB/s: above what a machine has to tell over hours.
	s.audits = bucket{burst: 64 << 20, refill: 4 * time.Microsecond}
	s.life, s.end = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.store, err = store.Open(ctx, cfg.State, cfg.Now); err != nil {
		return nil, err
	}
	if s.settings, err = s.store.Settings(ctx); err != nil {
		return nil, err
	}
	if err = s.chooseOverlay(ctx); err != nil {
		return nil, err
	}
	if err = s.chooseTimes(ctx); err != nil {
		return nil, err
	}
	if err = s.listen(); err != nil {
		return nil, err
	}
	if err = s.moveIssuer(ctx); err != nil {
		return nil, err
	}
	s.idp, err = idp.Open(ctx, idp.Config{
		URL: s.url, Store: s.store, Settings: s.settings, Log: s.log, Now: s.now, PasswordCost: cfg.PasswordCost,
		KeysChanged: s.keysChanged,
	})
	if err != nil {
		return nil, err
	}
	s.mirror, err = mirror.Open(ctx, mirror.Config{
		Store: s.store, Lifetime: s.settings.LoginLifetime, Log: s.log, Now: s.now, Changed: s.keysChanged, Patience: cfg.patience,
	})
	if err != nil {
		return nil, err
	}
	s.control = control.New(control.Config{
		Store: s.store, Settings: s.settings, Issuers: s.issuers, Log: s.log, Now: s.now, AckWait: cfg.patience,
	})
	if s.setupSecret, err = s.drawSetup(ctx); err != nil {
		return nil, err
	}
	close(s.opened)
	s.running.Go(s.sweep)
	return s, nil
}

// chooseOverlay changes the network's IPv4 range, as long as no machine has an address of it.
func (s *Server) chooseOverlay(ctx context.Context) error {
	want := s.cfg.Overlay4.Masked()
	if !s.cfg.Overlay4.IsValid() || want == s.settings.Overlay4 {
		return nil
	}
	if !want.Addr().Is4() || want.Bits() < 8 || want.Bits() > 24 {
		return fmt.Errorf("the overlay range %s must be an IPv4 range between /8 and /24", want)
	}
	peers, err := s.store.Peers(ctx)
	if err != nil {
		return err
	}
	if len(peers) > 0 {
		return fmt.Errorf("machines have addresses of %s already; the overlay range can be chosen only before the first one joins", s.settings.Overlay4)
	}
	s.settings.Overlay4 = want
	return s.store.PutSettings(ctx, s.settings)
}

// chooseTimes takes over the bounds that the configuration names.
func (s *Server) chooseTimes(ctx context.Context) error {
	next, changed := s.settings, false
	for _, t := range []struct {
		name string
		want time.Duration
		to   *time.Duration
	}{
		{"max-map-age", s.cfg.MaxMapAge, &next.MaxMapAge},
		{"login-grace", s.cfg.LoginGrace, &next.LoginGrace},
		{"login-lifetime", s.cfg.LoginLifetime, &next.LoginLifetime},
		{"token-lifetime", s.cfg.TokenLifetime, &next.TokenLifetime},
	} {
		if t.want == 0 {
			continue
		}
		if t.want < time.Second || t.want > 366*24*time.Hour {
			return fmt.Errorf("--%s %s must be between a second and a year", t.name, t.want)
		}
		changed = changed || *t.to != t.want
		*t.to = t.want
	}
	if !changed {
		return nil
	}
	s.settings = next
	return s.store.PutSettings(ctx, next)
}

// moveIssuer keeps people who they are when the embedded provider's address changed.
func (s *Server) moveIssuer(ctx context.Context) error {
	issuer := idp.Issuer(s.url)
	old := s.settings.Issuer
	if old == issuer {
		return nil
	}
	s.settings.Issuer = issuer
	if old == "" {
		return s.store.PutSettings(ctx, s.settings)
	}
	s.log.Warn("the address changed: everybody has to sign in again", "from", old, "to", issuer)
	return s.store.Change(ctx, &audit.Event{Type: audit.AdminChange, What: "issuer.move", Target: issuer, Detail: "from " + old}, func(q *store.Queries) error {
		if _, err := q.MoveIssuer(ctx, old, issuer); err != nil {
			return err
		}
		return q.PutSettings(ctx, s.settings)
	})
}

// URL is where the server is reached.
func (s *Server) URL() string { return s.url }

// Join is what follows "lanyard up".
func (s *Server) Join() string {
	if own, ok := s.certs.(*authority); ok {
		return s.url + "#sha256=" + own.pin()
	}
	return s.url
}

// SetupSecret is the one-time secret for the first administrator, empty when there is one.
func (s *Server) SetupSecret() string { return s.setupSecret }

// drawSetup makes the secret for the first administrator, as long as there is none.
func (s *Server) drawSetup(ctx context.Context) (string, error) {
	users, err := s.store.Users(ctx)
	if err != nil {
		return "", err
	}
	for _, u := range users {
		if u.Admin {
			return "", nil
		}
	}
	setup, err := s.store.Setup(ctx)
	if err != nil || setup.Done {
		return "", err
	}
	secret := api.NewID("ls_") + api.NewID("")
	return secret, s.store.PutSetup(ctx, secret, s.now().Add(setupLife))
}

// WriteSetup writes the setup URL to a file that only this user reads, and returns its name.
func (s *Server) WriteSetup() (string, error) {
	name := filepath.Join(s.cfg.State, "setup-url")
	return name, paths.WriteFile(name, []byte(s.SetupURL()+"\n"), 0o600)
}

// SetupURL is where the first administrator is made, empty when there is one.
func (s *Server) SetupURL() string {
	if s.setupSecret == "" {
		return ""
	}
	return s.url + "/setup?secret=" + s.setupSecret
}

// Serve answers until ctx ends or a listener fails.
func (s *Server) Serve(ctx context.Context) error {
	s.web = s.newWeb(s.routes())
	s.adminWeb = s.newWeb(s.adminRoutes())
	s.adminWeb.ConnContext = adminContext
	failed := make(chan error, 2)
	if c, ok := s.certs.(*acmeCertificates); ok {
		s.running.Go(func() { c.obtain(s.life) })
	}
	s.running.Go(func() { failed <- s.adminWeb.Serve(s.admin) })
	s.running.Go(func() {
		if s.certs != nil {
			s.web.TLSConfig = s.certs.config()
			failed <- s.web.ServeTLS(s.listener, "", "")
			return
		}
		failed <- s.web.Serve(s.listener)
	})
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	}
}

func (s *Server) newWeb(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: requestTime, WriteTimeout: 2 * requestTime, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, // two tokens and a proof
		ErrorLog:       slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// Close ends all connections, waits for the goroutines and closes the state.
func (s *Server) Close() error {
	s.end()
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	var errs []error
	for _, web := range []*http.Server{s.web, s.adminWeb} {
		if web == nil {
			continue
		}
		if err := web.Shutdown(ctx); err != nil {
			errs = append(errs, web.Close())
		}
	}
	for _, l := range []net.Listener{s.listener, s.admin} {
		if l != nil {
			l.Close() // closed already when it was served
		}
	}
	s.following.Wait()
	if s.control != nil {
		errs = append(errs, s.control.Close())
	}
	if s.mirror != nil {
		errs = append(errs, s.mirror.Close())
	}
	if s.idp != nil {
		errs = append(errs, s.idp.Close())
	}
	s.running.Wait()
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}

// sweep forgets what has expired.
func (s *Server) sweep() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	last := time.Now() // for what passes, whatever the clock is set to
	for {
		select {
		case <-s.life.Done():
			return
		case <-tick.C:
		}
		passed := time.Since(last)
		last = time.Now()
		if err := errors.Join(s.store.Sweep(s.life, s.settings.LoginLifetime, passed), s.idp.Sweep(s.life)); err != nil && s.life.Err() == nil {
			s.log.Error("forget what has expired", "err", err)
		}
	}
}

// audited wakes those who follow the audit log.
func (s *Server) audited() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.auditMore)
	s.auditMore = make(chan struct{})
}

func (s *Server) auditSignal() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.auditMore
}

// route is one thing that may be asked of the server, by a pattern of net/http's.
type route struct {
	pattern string
	handler http.Handler
	// open: without any proof or secret.
	open bool
}

// table lists all that is served to the network. Whoever adds a line decides whether it is open.
func (s *Server) table() []route {
	return []route{
		{"GET " + api.RouteConfig, s.handle(s.config), true},
		{"POST " + api.RouteEnroll, s.handle(s.enroll), false},
		{"GET " + api.RouteFollow, s.handle(s.follow), false},
		{"POST " + api.RouteLogin, s.handle(s.login), false},
		{"POST " + api.RouteLoginCode, s.handle(s.loginCode), false},
		{"POST " + api.RouteSession, s.handle(s.session), false},
		{"POST " + api.RouteSessionCode, s.handle(s.sessionCode), false},
		{"GET " + api.PageCode, s.handle(s.codePage), true},
		{"POST " + api.RouteSeen, s.handle(s.seen), false},
		{"POST " + api.RouteRenew, s.handle(s.renew), false},
		{"GET " + api.RouteMe, s.handle(s.me), false},
		{"POST " + api.RouteLogout, s.handle(s.logout), false},
		{"POST " + api.RouteExplain, s.handle(s.explain), false},
		{"POST " + api.RouteSetup, s.handle(s.setup), false},
		{"/setup", s.handle(s.setupPage), true},
		{"/dex/", s.idp, true},
		{"/api/admin/", s.tokenOnly(s.adminAPI()), false},
		{"GET /api/openapi.json", s.adminAPI(), true},
		{"GET /healthz", s.handle(func(w http.ResponseWriter, _ *http.Request) error {
			writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
			return nil
		}), true},
		{"GET /readyz", s.handle(s.ready), true},
		{"/", s.handle(func(http.ResponseWriter, *http.Request) error {
			return refuse(http.StatusNotFound, "There is nothing here; this is a Lanyard management server.")
		}), true},
	}
}

// Proven lists the patterns of the table that want a proof or a secret.
func (s *Server) Proven() []string {
	var out []string
	for _, r := range s.table() {
		if !r.open {
			out = append(out, r.pattern)
		}
	}
	return out
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.table() {
		mux.Handle(r.pattern, r.handler)
	}
	return s.guard(mux)
}

// guard sets what every answer has, and keeps one fault from ending the server's other work.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		if s.certs != nil {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		defer func() {
			if v := recover(); v != nil {
				if v == http.ErrAbortHandler {
					panic(v)
				}
				s.fail(w, r, fmt.Errorf("panic: %v", v))
			}
		}()
		next.ServeHTTP(w, r)
	})
}

func (s *Server) config(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, api.Config{
		Version: api.Version, MinVersion: api.MinVersion, Release: s.cfg.Release, Name: s.settings.Name, Network: s.settings.Network,
		MapKey: s.settings.Key().Public().(ed25519.PublicKey), Issuers: append([]api.Issuer{s.idp.Public()}, s.mirror.Public()...), Zone: s.settings.Zone,
	})
	return nil
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) error {
	if err := s.store.Ping(r.Context()); err != nil {
		s.log.Error("the database does not answer", "err", err)
		return refuse(http.StatusServiceUnavailable, "The database does not answer.")
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	return nil
}

// password makes a one-time password of 100 random bits that can be typed.
func password() string {
	const letters = "abcdefghijkmnpqrstuvwxyz23456789" // 32: five bits each
	b := make([]byte, 20)
	rand.Read(b)
	out := make([]byte, 0, 24)
	for i, c := range b {
		if i > 0 && i%5 == 0 {
			out = append(out, '-')
		}
		out = append(out, letters[c%32])
	}
	return string(out)
}

func hostname() string {
	h, err := os.Hostname()
	if err != nil {
		return ""
	}
	return h
}
