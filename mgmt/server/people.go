package server

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/proof"
	"lanyard/mgmt/api/reason"
	"lanyard/mgmt/control"
	"lanyard/mgmt/idp"
	"lanyard/mgmt/policy"
	"lanyard/mgmt/store"
	"lanyard/sshd/token"
)

// login takes a pushed authorization request from a machine (RFC 9126 in shape).
func (s *Server) login(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	var req api.LoginStart
	if err := decode(body, &req); err != nil {
		return err
	}
	var peer *store.Peer
	var stranger *proof.Proof
	asker := idp.SourceKey(clientAddr(r))
	switch req.Purpose {
	case api.PurposeLogin:
		p, err := s.peerProof(r, body)
		if err != nil {
			return err
		}
		peer, asker = &p, p.ID
	case api.PurposeEnroll:
		if stranger, err = s.machineProof(r, body); err != nil {
			return err
		}
	default:
		return refuse(http.StatusBadRequest, "The purpose of a login must be %q or %q.", api.PurposeLogin, api.PurposeEnroll)
	}
	// The account first: what is refused to one counts for nobody else.
	if s.asks.wait(asker+"/"+req.Account, s.now()) > 0 || s.pushes.wait(asker, s.now()) > 0 {
		return refuseCode(http.StatusTooManyRequests, reason.TooMany)
	}
	if stranger != nil { // no more of these are kept than the limits let through
		if err := useOnce(r.Context(), &s.store.Queries, stranger); err != nil {
			return err
		}
	}
	if peer != nil && s.direct(req.Issuer) { // it knows nothing of machines
		if err := s.idp.NoteOrigin(r.Context(), req, peer.ID); err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, api.LoginStarted{})
		return nil
	}
	started, err := s.idp.Push(r.Context(), req, peer)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, started)
	return nil
}

// direct reports whether an issuer is one whose logins begin without this server.
func (s *Server) direct(issuer string) bool {
	return slices.ContainsFunc(s.mirror.Issuers(), func(i api.Issuer) bool { return i.URL == issuer })
}

// seen registers a login, and later each of its refreshed tokens.
func (s *Server) seen(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	p, err := s.personProof(r, body)
	if err != nil {
		return err
	}
	if err := s.register(r.Context(), p); err != nil {
		return err
	}
	return s.writeMe(r.Context(), w, p)
}

// register notes a login and the age of its newest token. One that was withdrawn for its silence is good again, on the
// machines too, before the answer: ssh connects right after it.
func (s *Server) register(ctx context.Context, p *person) error {
	id := p.identity
	var seen store.Seen
	err := s.store.Tx(ctx, func(q *store.Queries) (err error) {
		seen, err = q.SawLogin(ctx, store.Login{
			Thumbprint: id.Thumbprint, UserID: p.ID, Started: id.BoundAt, NewestToken: id.IssuedAt,
		})
		if err != nil || !seen.New {
			return err
		}
		if err := q.SignedIn(ctx, p.UserRef); err != nil {
			return err
		}
		return q.AddAudit(ctx, &audit.Event{
			Type: audit.Login, Issuer: id.Issuer, Subject: id.Subject, User: p.Email, Detail: "key " + id.Thumbprint,
		})
	})
	if err == nil && seen.Again {
		_, err = s.control.Apply(ctx)
	} else if err == nil {
		s.control.Touch() // so that it is known when it will have been silent for too long
	}
	return err
}

// renew trades a refreshed token that is not bound to the login's key for the map key's word. The token goes no further:
// whoever has one could use it, were it taken anywhere without a proof.
func (s *Server) renew(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	var req api.RenewRequest
	if err := decode(body, &req); err != nil {
		return err
	}
	if req.Token == "" || token.IsRenewal(req.Token) {
		return refuse(http.StatusBadRequest, "The request holds no refreshed token.")
	}
	p, err := s.proven(r, body, req.Token)
	if err != nil {
		return err
	}
	renewal, err := token.SignRenewal(s.settings.Key(), p.identity.Renewal(p.bound))
	if err != nil {
		return err
	}
	if err := s.register(r.Context(), p); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.RenewReply{Renewal: renewal})
	return nil
}

func (s *Server) me(w http.ResponseWriter, r *http.Request) error {
	p, err := s.personProof(r, nil)
	if err != nil {
		return err
	}
	return s.writeMe(r.Context(), w, p)
}

func (s *Server) writeMe(ctx context.Context, w http.ResponseWriter, p *person) error {
	world, policies, err := s.control.World(ctx)
	if err != nil {
		return err
	}
	u := worldUser(world, p.ID)
	groups := p.identity.GroupRefs()
	me := api.Me{
		UserRef: p.UserRef, ID: p.ID, Email: p.Email, Name: p.Name, Admin: p.Admin,
		Groups: append(groups, u.Groups...), Machines: policy.Reach(world, policies, u, groups),
	}
	writeJSON(w, http.StatusOK, me)
	return nil
}

func worldUser(w *policy.World, id string) policy.User {
	for _, u := range w.Users {
		if u.ID == id {
			return u
		}
	}
	return policy.User{ID: id}
}

// logout ends this login or all of the person's, and their sessions.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	p, err := s.personProof(r, body)
	if err != nil {
		return err
	}
	defer s.control.Change()()
	var req api.LogoutRequest
	if len(body) > 0 {
		if err := decode(body, &req); err != nil {
			return err
		}
	}
	id := p.identity
	ev := &audit.Event{Type: audit.Logout, Issuer: id.Issuer, Subject: id.Subject, User: p.Email, Detail: "key " + id.Thumbprint}
	err = s.store.Change(ctx, ev, func(q *store.Queries) error {
		// A login that never said it was there is ended all the same.
		if _, err := q.SawLogin(ctx, store.Login{Thumbprint: id.Thumbprint, UserID: p.ID, Started: id.BoundAt, NewestToken: id.IssuedAt}); err != nil {
			return err
		}
		if err := q.RevokeLogin(ctx, id.Thumbprint, p.ID); err != nil {
			return err
		}
		if !req.All {
			return nil
		}
		ev.Detail = "all logins"
		return s.endLogins(ctx, q, &p.User)
	})
	if err != nil {
		return err
	}
	bound, err := token.Peek(p.bound)
	if err != nil {
		return err
	}
	if err := s.idp.Revoke(ctx, p.User, bound.Nonce); err != nil {
		return err
	}
	if req.All {
		if err := s.idp.RevokeAll(ctx, p.User); err != nil {
			return err
		}
	}
	effect, err := s.control.Apply(ctx)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, effect)
	return nil
}

// endLogins ends every login that the person has now: known keys by name, unknown ones by time.
func (s *Server) endLogins(ctx context.Context, q *store.Queries, u *store.User) error {
	if err := q.RevokeLogins(ctx, u.ID); err != nil {
		return err
	}
	// Tokens say whole seconds: a login of this very second, made after this, must not be ended by it.
	u.NotBefore = s.now().Truncate(1e9)
	return q.UpdateUser(ctx, *u)
}

// explain says what the policy says: about oneself to everyone, about others to administrators.
func (s *Server) explain(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	p, err := s.personProof(r, body)
	if err != nil {
		return err
	}
	var req api.ExplainRequest
	if err := decode(body, &req); err != nil {
		return err
	}
	who, groups := p.User, p.identity.GroupRefs()
	subject := policy.Subject{
		Email: p.identity.Email, EmailVerified: p.identity.EmailVerified, EmailDomainOK: p.identity.EmailDomainOK,
		AMR: p.identity.AMR, ACR: p.identity.ACR, AuthTime: p.identity.AuthTime,
		TokenTime: p.identity.IssuedAt, BoundAt: p.identity.BoundAt, Thumbprint: p.identity.Thumbprint, LoginExpires: p.identity.LoginExpires,
	}
	if req.User != "" && req.User != p.ID && !strings.EqualFold(req.User, p.Email) {
		if !p.Admin {
			return refuse(http.StatusForbidden, "Only administrators may ask about others; leave the person out to ask about yourself.")
		}
		if strings.HasPrefix(req.User, api.MachineSubject) {
			reply, err := s.explainMachine(ctx, req)
			if err == nil {
				writeJSON(w, http.StatusOK, reply)
			}
			return err
		}
		if who, err = s.store.User(ctx, req.User); err != nil {
			return err
		}
		groups, subject = nil, s.ideal(who)
	}
	reply, err := s.decide(ctx, who, groups, subject, req)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, reply)
	return nil
}

// ideal is the subject of somebody who would sign in right now.
func (s *Server) ideal(u store.User) policy.Subject {
	now := s.now()
	return policy.Subject{Email: u.Email, EmailVerified: true, TokenTime: now, BoundAt: now, AuthTime: now}
}

// decide asks the engine that the server peers ask, with the map that the target has.
func (s *Server) decide(ctx context.Context, u store.User, groups []api.GroupRef, subject policy.Subject, req api.ExplainRequest) (*api.ExplainReply, error) {
	world, policies, err := s.control.World(ctx)
	if err != nil {
		return nil, err
	}
	target, ok := findPeer(world, req.Target)
	if !ok {
		return nil, refuse(http.StatusNotFound, "There is no machine called %q here; 'lanyard status' lists yours.", req.Target)
	}
	source, ok := findPeer(world, req.Source)
	if !ok && req.Source != "" {
		return nil, refuse(http.StatusNotFound, "There is no machine called %q here; 'lanyard status' lists yours.", req.Source)
	}
	if !ok {
		source.Owner = u.UserRef // the person's own, as long as no machine is named
	}
	wu := worldUser(world, u.ID)
	subject.Ref = u.UserRef
	subject.Groups = groups
	decision := policy.Decide(policy.Query{
		Self: target, Rules: policy.Compile(world, policies, target), Source: source, Subject: subject,
		Users:   map[api.UserRef]api.MapUser{u.UserRef: control.MapUser(u, wu.Groups)},
		Account: guess(req.Account), Now: s.now(), MapIssued: s.now(), MaxMapAge: s.settings.MaxMapAge,
	})
	return explained(decision), nil
}

// explainMachine asks the engine for a machine's account, "machine:NAME/ACCOUNT", with nobody signed in.
func (s *Server) explainMachine(ctx context.Context, req api.ExplainRequest) (*api.ExplainReply, error) {
	name, account, ok := strings.Cut(strings.TrimPrefix(req.User, api.MachineSubject), "/")
	if !ok || account == "" {
		return nil, refuse(http.StatusBadRequest, "%q does not name an account of a machine; write machine:NAME/ACCOUNT.", req.User)
	}
	world, policies, err := s.control.World(ctx)
	if err != nil {
		return nil, err
	}
	target, ok := findPeer(world, req.Target)
	if !ok {
		return nil, refuse(http.StatusNotFound, "There is no machine called %q here; 'lanyard status' lists yours.", req.Target)
	}
	source, ok := findPeer(world, name)
	if !ok {
		return nil, refuse(http.StatusNotFound, "There is no machine called %q here; 'lanyard-mgmt peer list' shows those that are.", name)
	}
	return explained(policy.Decide(policy.Query{
		Self: target, Rules: policy.Compile(world, policies, target), Source: source,
		Subject: policy.Subject{Machine: &api.MachineRef{Peer: source.ID, Account: account}},
		Account: guess(req.Account), Now: s.now(), MapIssued: s.now(), MaxMapAge: s.settings.MaxMapAge,
	})), nil
}

func explained(d policy.Decision) *api.ExplainReply {
	reply := &api.ExplainReply{Allowed: d.Allowed(), Code: string(d.Code), Message: d.Code.Sentence(), Rule: d.RuleName, Steps: d.Steps}
	for _, c := range api.AllCapabilities() {
		if d.Has(c) {
			reply.Can = append(reply.Can, string(c))
		}
	}
	return reply
}

// guess is what can be known here of an account on another machine: its name. The machine itself goes by uid.
func guess(name string) policy.Account {
	a := policy.Account{Name: name, ID: "?"}
	switch strings.ToLower(name) {
	case "root", "administrator", "system":
		a.Privileged, a.System = true, true
	}
	return a
}

func findPeer(w *policy.World, idOrName string) (api.Peer, bool) {
	for _, p := range w.Peers {
		if p.ID == idOrName || p.Name == idOrName {
			return p, true
		}
	}
	return api.Peer{}, false
}
