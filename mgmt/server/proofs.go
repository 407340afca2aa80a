package server

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/proof"
	"lanyard/mgmt/api/reason"
	"lanyard/mgmt/control"
	"lanyard/mgmt/policy"
	"lanyard/mgmt/store"
	"lanyard/sshd/token"
)

// maxBody bounds the requests of peers and people, in bytes.
const maxBody = 256 << 10

// readBody reads the whole body, which proofs cover.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	return io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
}

func decode(body []byte, v any) error {
	if err := json.Unmarshal(body, v); err != nil {
		return refuse(http.StatusBadRequest, "The request cannot be read: %v.", err)
	}
	return nil
}

// checkVersion refuses programs that are too old, saying what to upgrade.
func checkVersion(r *http.Request) error {
	h := r.Header.Get(api.HeaderVersion)
	if h == "" {
		return nil
	}
	v, err := strconv.Atoi(h)
	if err != nil {
		return refuse(http.StatusBadRequest, "The header %s must be a number.", api.HeaderVersion)
	}
	if v < api.MinVersion {
		return refuse(http.StatusUpgradeRequired,
			"This machine's Lanyard speaks protocol %d, the management server needs %d; upgrade Lanyard on this machine.", v, api.MinVersion)
	}
	return nil
}

// machineProof checks the proof by a machine key, which may be a stranger's. The caller has to useOnce.
func (s *Server) machineProof(r *http.Request, body []byte) (*proof.Proof, error) {
	if err := checkVersion(r); err != nil {
		return nil, err
	}
	raw := r.Header.Get(api.HeaderMachine)
	if raw == "" {
		return nil, refuse(http.StatusUnauthorized, "This needs a proof by the machine key; run 'lanyard up' on the machine.")
	}
	return proof.Verify(raw, proof.Want{Method: r.Method, URL: r.URL.RequestURI(), Body: body, Hosts: s.hosts}, s.now())
}

// peerProof checks the proof of a machine that is enrolled, and uses it up.
func (s *Server) peerProof(r *http.Request, body []byte) (store.Peer, error) {
	p, err := s.machineProof(r, body)
	if err != nil {
		return store.Peer{}, err
	}
	peer, err := s.store.PeerByMachineKey(r.Context(), p.Key)
	known := !errors.Is(err, store.ErrNotFound)
	if !known {
		removed, err := s.store.WasPeer(r.Context(), p.Key)
		if err != nil {
			return store.Peer{}, err
		}
		if removed { // while it was off: it hears of it now
			return store.Peer{}, &api.Error{Status: http.StatusGone, Code: string(reason.Removed), Message: machineRemoved}
		}
	}
	if !known || err == nil && p.Subject != peer.ID {
		return store.Peer{}, &api.Error{
			Status: http.StatusForbidden, Code: string(reason.Removed), Message: "This machine is not enrolled here (any more); run 'lanyard up' to join again.",
		}
	}
	if err != nil {
		return store.Peer{}, err
	}
	return peer, useOnce(r.Context(), &s.store.Queries, p)
}

// useOnce notes a proof's id and refuses one that is noted. It comes before any effect, or in one transaction with it, and
// after the check of who asks: strangers' proofs would fill the database.
func useOnce(ctx context.Context, q *store.Queries, p *proof.Proof) error {
	fresh, err := q.UseOnce(ctx, p.JTI, p.IssuedAt.Add(2*proof.MaxAge))
	if err != nil {
		return err
	}
	if !fresh {
		return refuse(http.StatusUnauthorized, "This request was sent before; send a new one.")
	}
	return nil
}

// person is somebody who proved a login for one request.
type person struct {
	store.User
	identity *token.Identity
	bound    string
}

// isAt notes that the login's key, if there is one, was made on the machine that it enrols.
func (p *person) isAt(ctx context.Context, q *store.Queries, peer string) error {
	if p == nil {
		return nil
	}
	claims, err := token.Peek(p.bound)
	if err != nil {
		return err
	}
	return q.AddOrigin(ctx, store.Origin{Thumbprint: p.identity.Thumbprint, Nonce: claims.Nonce, PeerID: peer})
}

// personProof checks "Authorization: DPoP <bound token>" with a proof by the login's key (RFC 9449 §7.1). The token
// alone opens nothing.
func (s *Server) personProof(r *http.Request, body []byte) (*person, error) {
	return s.proven(r, body, "")
}

// proven is personProof, with the newest token (refreshed) in the body where it must not stand in the proof.
func (s *Server) proven(r *http.Request, body []byte, refreshed string) (*person, error) {
	ctx := r.Context()
	if err := checkVersion(r); err != nil {
		return nil, err
	}
	bound, ok := strings.CutPrefix(r.Header.Get("Authorization"), "DPoP ")
	raw := r.Header.Get(api.HeaderProof)
	if !ok || raw == "" {
		return nil, &api.Error{
			Status: http.StatusUnauthorized, Code: string(reason.NotLoggedIn),
			Message: "This needs a sign-in with a proof by its key; run 'lanyard login'.",
		}
	}
	now := s.now()
	p, err := proof.Verify(raw, proof.Want{Method: r.Method, URL: r.URL.RequestURI(), Body: body, AccessToken: bound, Hosts: s.hosts}, now)
	if err != nil {
		return nil, err
	}
	id, err := s.verify(ctx, func(t *token.Trust) (*token.Identity, error) {
		if refreshed != "" {
			return t.VerifyRefreshed(p.WireKey(), p.Salt, bound, refreshed, now)
		}
		return t.VerifyTokens(p.WireKey(), p.Salt, bound, p.Fresh, now)
	})
	if err != nil {
		return nil, err
	}
	if now.Sub(id.IssuedAt) > policy.DefaultMaxTokenAge+token.Leeway {
		return nil, refuseCode(http.StatusUnauthorized, reason.TokenExpired)
	}
	if err := useOnce(ctx, &s.store.Queries, p); err != nil {
		return nil, err
	}
	u, err := s.store.UserByRef(ctx, id.User())
	if errors.Is(err, store.ErrNotFound) && id.Issuer != s.settings.Issuer {
		u, err = s.newcomer(ctx, id)
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, refuse(http.StatusForbidden, "This management server does not know you; ask your administrator.")
	}
	if err != nil {
		return nil, err
	}
	if u.Blocked {
		return nil, refuseCode(http.StatusForbidden, reason.Blocked)
	}
	return &person{User: u, identity: id, bound: bound}, nil
}

// verify asks check, and once more when the provider turns out to have a new key. The machines have it then too.
func (s *Server) verify(ctx context.Context, check func(*token.Trust) (*token.Identity, error)) (*token.Identity, error) {
	trust, err := s.trust(ctx)
	if err != nil {
		return nil, err
	}
	id, err := check(trust)
	var unknown *token.UnknownKeyError
	if !errors.As(err, &unknown) {
		return id, err
	}
	changed, lookErr := s.mirror.Look(ctx, unknown.Issuer)
	if lookErr != nil {
		s.log.Warn("an identity provider does not tell its keys", "issuer", unknown.Issuer, "err", lookErr)
	}
	if changed {
		if _, err := s.control.Apply(ctx); err != nil {
			return nil, err
		}
	}
	// Also when this look was one too many: the one before may have brought the key.
	if trust, err = s.trust(ctx); err != nil {
		return nil, err
	}
	return check(trust)
}

// newcomer makes a person of another provider who comes for the first time. Policies go by the email address only where
// the provider has verified it and the administrator gave its domain to that provider.
func (s *Server) newcomer(ctx context.Context, id *token.Identity) (store.User, error) {
	u := store.User{UserRef: id.User(), Name: label(id.Name)}
	if id.EmailVerified && id.EmailDomainOK {
		u.Email = strings.ToLower(id.Email)
	}
	ev := &audit.Event{
		Type: audit.AdminChange, What: "user.first", Issuer: id.Issuer, Subject: id.Subject, User: id.Email, Target: id.Subject,
		Detail: "signed in for the first time",
	}
	err := s.store.Change(ctx, ev, func(q *store.Queries) error { return q.AddUser(ctx, &u) })
	if errors.Is(err, store.ErrExists) { // at the same moment, by another request
		return s.store.UserByRef(ctx, id.User())
	}
	if err == nil {
		s.audited()
		_, err = s.control.Apply(ctx) // rules that name the address begin to hold
	}
	return u, err
}

// trust is what tokens are checked against now: the same that the maps say.
func (s *Server) trust(ctx context.Context) (*token.Trust, error) {
	issuers, err := s.issuers(ctx)
	if err != nil {
		return nil, err
	}
	revoked, err := s.store.RevokedKeys(ctx, s.now().Add(-s.settings.LoginLifetime-time.Hour))
	if err != nil {
		return nil, err
	}
	users, err := s.store.Users(ctx)
	if err != nil {
		return nil, err
	}
	m := &api.Map{Issuers: issuers, RevokedKeys: revoked}
	for _, u := range users {
		m.Users = append(m.Users, control.MapUser(u, nil))
	}
	trust, err := token.TrustFromMap(m)
	if err != nil {
		return nil, err
	}
	trust.MapKey = s.settings.Key().Public().(ed25519.PublicKey)
	return trust, nil
}
