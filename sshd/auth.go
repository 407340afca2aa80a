package sshd

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/reason"
	"lanyard/mgmt/policy"
	"lanyard/platform/accounts"
	"lanyard/platform/spawn"
	"lanyard/sshd/token"
)

// Keys of ssh.Permissions.ExtraData: what authentication found travels there and nowhere else, so that it is
// always that of the key which succeeded.
type (
	identityKey struct{}
	machineKey  struct{}
	grantKey    struct{}
)

// grant is who came in, and as what.
type grant struct {
	subject policy.Subject
	user    string // for people; a machine's account as api.MachineUser names it
	vouched []byte // machine key that the source peer's word was checked with; nil for a person
	account accounts.Account
	id      *token.Identity // of a person
	rule    string          // that let the session begin
	decided policy.Decision // the latest; guarded by conn.mu
	mapped  bool            // the source peer was in the map
}

// config is the server's, with the callbacks of this connection.
func (c *conn) config() *ssh.ServerConfig {
	cfg := c.s.ssh
	cfg.PublicKeyCallback = c.checkKey
	cfg.VerifiedPublicKeyCallback = c.decideKey
	if c.mayPrompt() != reason.SignInOff {
		cfg.KeyboardInteractiveCallback = c.prompt
	}
	if c.s.admitsAnyProcess() {
		cfg.NoClientAuth = true
		cfg.NoClientAuthCallback = c.decideMachine
	}
	return &cfg
}

// checkKey looks at a key that a client offers and may not have: the token is checked and nothing else happens.
func (c *conn) checkKey(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	st := c.s.cfg.State()
	if st == nil || st.Map == nil || st.Trust == nil {
		return nil, c.refusal(reason.Errorf(reason.MapStale, "there is no map yet"))
	}
	cert, ok := key.(*ssh.Certificate)
	if ok && token.IsMachine(cert) {
		return c.checkMachine(st, cert)
	}
	if !ok || cert.Extensions[token.ExtIDToken] == "" {
		return nil, c.refusal(reason.Errorf(reason.TokenMissing, "a key of type %s", key.Type()))
	}
	id, err := st.Trust.VerifyCertificate(cert, c.s.cfg.Now())
	var unknown *token.UnknownKeyError
	if errors.As(err, &unknown) && c.s.cfg.UnknownKey != nil {
		c.s.cfg.UnknownKey(unknown.Issuer, unknown.KID)
	}
	if err != nil {
		return nil, c.refusal(err)
	}
	return &ssh.Permissions{ExtraData: map[any]any{identityKey{}: id}}, nil
}

// checkMachine looks at the word of a machine about one of its accounts. It counts from a connection of that machine
// only, by the key that the map in force has for it.
func (c *conn) checkMachine(st *State, cert *ssh.Certificate) (*ssh.Permissions, error) {
	source, ok := c.s.factsOf(st.Map).peers[c.source.ID]
	if !ok {
		return nil, c.refusal(reason.Errorf(reason.OtherMachine, "%s is not in the map any more", c.source.ID))
	}
	m, err := st.Trust.VerifyMachine(cert, source, c.s.cfg.Now())
	if err != nil {
		return nil, c.refusal(err)
	}
	return &ssh.Permissions{ExtraData: map[any]any{machineKey{}: &vouched{m, source}}}, nil
}

// vouched is an account and the machine that vouched for it, as the map showed it then.
type vouched struct {
	*token.Machine
	by api.Peer
}

func (v *vouched) grant() *grant {
	return &grant{user: api.MachineUser(v.by.Name, v.Account), vouched: v.by.MachineKey, subject: policy.Subject{
		Machine: &api.MachineRef{Peer: v.Peer, Account: v.Account},
	}}
}

func personGrant(id *token.Identity) *grant {
	user := firstOf(id.Email, id.Name, id.Subject)
	if strings.HasPrefix(user, api.MachineSubject) { // a provider cannot name people as machines
		user = "user:" + user
	}
	return &grant{user: user, id: id, subject: policy.Subject{
		Ref: id.User(), Email: id.Email, EmailVerified: id.EmailVerified, EmailDomainOK: id.EmailDomainOK,
		Groups: id.GroupRefs(), AMR: id.AMR, ACR: id.ACR, AuthTime: id.AuthTime, TokenTime: id.IssuedAt,
		BoundAt: id.BoundAt, LoginExpires: id.LoginExpires, Thumbprint: id.Thumbprint,
	}}
}

// decideKey comes after the client has proven that it has the key.
func (c *conn) decideKey(meta ssh.ConnMetadata, _ ssh.PublicKey, p *ssh.Permissions, _ string) (*ssh.Permissions, error) {
	var g *grant
	if v, ok := p.ExtraData[machineKey{}].(*vouched); ok {
		g = v.grant()
	} else {
		g = personGrant(p.ExtraData[identityKey{}].(*token.Identity))
	}
	if err := c.decideLogin(meta.User(), g); err != nil {
		c.refuse(meta.User(), g, err)
		return nil, c.refusal(err)
	}
	return &ssh.Permissions{ExtraData: map[any]any{grantKey{}: g}}, nil
}

// decideMachine lets a machine in without a certificate (RFC 4252 §5.2, "none"), where a rule has any_process. A
// client asks for "none" to learn the other methods, so a refusal says nothing and is no event.
func (c *conn) decideMachine(meta ssh.ConnMetadata) (*ssh.Permissions, error) {
	g := &grant{user: api.MachineUser(c.source.Name, "*"), subject: policy.Subject{
		Machine: &api.MachineRef{Peer: c.source.ID}, AnyProcess: true,
	}}
	if err := c.decideLogin(meta.User(), g); err != nil {
		return nil, ssh.ErrNoAuth
	}
	return &ssh.Permissions{ExtraData: map[any]any{grantKey{}: g}}, nil
}

func (s *Server) admitsAnyProcess() bool {
	st := s.cfg.State()
	return st != nil && st.Map != nil && slices.ContainsFunc(st.Map.Rules, func(r api.Rule) bool { return r.AnyProcess })
}

// decideLogin registers the session, decides it and records its start, in this order: a change that comes between
// finds the session and ends it. Before that the name alone is decided, and no account is looked up that no rule
// offers: who may not use a name learns neither from the answer nor from its time whether there is such an account.
func (c *conn) decideLogin(name string, g *grant) (err error) {
	if d := c.decideName(name, g); !d.Allowed() {
		return &reason.Error{Code: d.Code, Detail: fmt.Sprintf("account %q", name)}
	}
	account, err := c.s.account(name)
	if err != nil {
		return err
	}
	g.account, g.mapped = account, c.mapped() // from here on others decide about it
	c.mu.Lock()
	c.grant = g
	c.mu.Unlock()
	c.s.register(c)
	defer func() {
		if err != nil {
			c.s.unregister(c)
			c.mu.Lock()
			c.grant = nil
			c.mu.Unlock()
		}
	}()
	d := c.decide(g, false)
	if !d.Allowed() {
		return &reason.Error{Code: d.Code, Detail: "account " + name}
	}
	c.mu.Lock()
	if c.ended != "" {
		defer c.mu.Unlock()
		return &reason.Error{Code: c.ended}
	}
	g.decided, g.rule, c.begun = d, d.Rule, true
	c.mu.Unlock()
	if err := c.s.record(c.event(audit.SessionStart, g)); err != nil {
		c.mu.Lock()
		c.begun = false
		c.mu.Unlock()
		return err
	}
	return nil
}

// mapped reports whether the source is in the map.
func (c *conn) mapped() bool {
	st := c.s.cfg.State()
	if st == nil || st.Map == nil {
		return false
	}
	_, known := c.s.factsOf(st.Map).peers[c.source.ID]
	return known
}

// decideName decides about a name that nobody has looked up. What only the account shows (that it is root's, say) is
// not known yet, so what is allowed here is decided once more with the account itself.
func (c *conn) decideName(name string, g *grant) policy.Decision {
	asked := *g
	asked.account = accounts.Unresolved(name)
	d := c.decide(&asked, false)
	if d.Allowed() {
		return d
	}
	for _, known := range c.s.named() { // a name may be a short form of one that they have
		if known == asked.account.Name || !accounts.SameName(known, name) {
			continue
		}
		asked.account.Name = known
		if other := c.decide(&asked, false); other.Allowed() {
			return other
		}
	}
	return d
}

// named lists the accounts that rules and the machine's limits call by name.
func (s *Server) named() []string {
	st := s.cfg.State()
	if st == nil || st.Map == nil {
		return nil
	}
	var all []string
	for _, r := range st.Map.Rules {
		all = append(all, r.As...)
	}
	if st.Limits != nil {
		all = append(all, st.Limits.Accounts...)
	}
	return all
}

// account resolves a login name to an account that may be served.
func (s *Server) account(name string) (accounts.Account, error) {
	a, err := s.cfg.Accounts(name)
	switch {
	case errors.Is(err, accounts.ErrNotFound):
		return a, &reason.Error{Code: reason.NoAccount, Detail: err.Error()}
	case err != nil:
		s.cfg.Log.Error("cannot look up an account", "account", name, "err", err)
		return a, &reason.Error{Code: reason.Internal, Detail: err.Error()}
	case a.Locked:
		return a, &reason.Error{Code: reason.NoAccount, Detail: "the account is locked or has expired"}
	case a.NoLogin:
		return a, &reason.Error{Code: reason.NoAccount, Detail: "its shell lets nobody in"}
	case a.Closed:
		return a, &closedError{&reason.Error{Code: reason.NoLogins, Detail: "nologin(5)"}, a.Notice}
	case !spawn.CanServe(a):
		return a, &reason.Error{Code: reason.NoAccount, Detail: spawn.ErrAccount.Error()}
	}
	return a, nil
}

// decide asks the policy. It adds what only this machine knows: whether SSH is on, and whether the source is still
// a peer.
func (c *conn) decide(g *grant, live bool) policy.Decision {
	st := c.s.cfg.State()
	if st == nil || st.Map == nil || st.Trust == nil {
		return policy.Decision{Code: reason.MapStale}
	}
	if !st.Enabled {
		return policy.Decision{Code: reason.Disabled}
	}
	f := c.s.factsOf(st.Map)
	source, known := f.peers[c.source.ID]
	if !known {
		source = c.source
	}
	if g.vouched != nil && !bytes.Equal(g.vouched, source.MachineKey) { // another machine has its place now
		return policy.Decision{Code: reason.OtherMachine}
	}
	if g.id != nil {
		if err := st.Trust.Stands(g.id); err != nil {
			return policy.Decision{Code: codeOf(err)}
		}
	}
	d := policy.Decide(policy.Query{
		Self: st.Map.Self, Rules: st.Map.Rules, Users: f.users, RevokedKeys: st.Trust.RevokedKeys,
		Overlay: []netip.Prefix{st.Map.Overlay4, st.Map.Overlay6},
		Source:  source, Subject: g.subject,
		Account: policy.Account{Name: g.account.Name, ID: g.account.UID, Privileged: g.account.Privileged, System: g.account.System},
		Now:     c.s.cfg.Now(), MapIssued: st.Map.IssuedAt, MaxMapAge: st.Map.MaxMapAge.Duration(), Live: live,
		Silent: f.silent, LoginGrace: st.Map.LoginGrace.Duration(), Limits: st.Limits,
	})
	if !known && live && g.mapped && d.Allowed() { // what is wrong with the person would have been the better reason
		return policy.Decision{Code: reason.PolicyGone}
	}
	d.Steps = nil // nobody reads them here, and each connection keeps its decision
	return d
}

// refusal makes an error of which the client's person sees one line, on ssh's stderr (RFC 4252 §5.4, a banner). A
// client that offers several keys sees each reason once, and "not a certificate of ours" only if it is the only one.
func (c *conn) refusal(err error) error {
	code := codeOf(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.told == code || c.told != "" && code == reason.TokenMissing {
		return err
	}
	c.told = code
	if code == reason.TokenMissing && c.prompts { // who comes with keys of their own is asked next
		return err
	}
	return &ssh.BannerError{Err: err, Message: message(err)}
}

// message is what the person reads of a refusal.
func message(err error) string {
	line := codeOf(err).Line() + "\n"
	if closed := (*closedError)(nil); errors.As(err, &closed) && closed.notice != "" {
		return printable(closed.notice) + "\n" + line
	}
	return line
}

// closedError is a refusal by nologin(5), with its text.
type closedError struct {
	refusal error
	notice  string
}

func (e *closedError) Error() string { return e.refusal.Error() }

func (e *closedError) Unwrap() error { return e.refusal }

// printable leaves out what a terminal would act on, but for the ends of lines.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return -1
	}, s)
}

// refuse records a refusal of somebody who has proven to be who they say.
func (c *conn) refuse(name string, g *grant, err error) {
	e := c.event(audit.Refused, g)
	e.LocalUser, e.Reason = name, codeOf(err)
	if re := (*reason.Error)(nil); errors.As(err, &re) {
		e.Detail = re.Detail
	}
	c.mu.Lock()
	c.refusals++
	c.mu.Unlock()
	c.s.cfg.Log.Info("refused a login", "user", g.user, "peer", c.source.Name, "account", name, "reason", e.Reason, "detail", e.Detail)
	_ = c.s.record(e)
}

// refusedBefore records, once the handshake has failed, why nobody got as far as to prove who they are.
func (c *conn) refusedBefore(name string) {
	c.mu.Lock()
	code, done := c.told, c.refusals > 0 || c.begun
	c.mu.Unlock()
	if code == "" || done {
		return
	}
	e := c.event(audit.Refused, nil)
	e.LocalUser, e.Reason = name, code
	c.s.cfg.Log.Info("refused a login", "peer", c.source.Name, "account", name, "reason", code)
	_ = c.s.record(e)
}

// record writes an event and says whether a session may begin on it.
func (s *Server) record(e audit.Event) error {
	err := s.cfg.Audit(e)
	if err == nil {
		return nil
	}
	if re := (*reason.Error)(nil); errors.As(err, &re) {
		return err
	}
	s.cfg.Log.Error("cannot record an event", "type", e.Type, "session", e.Session, "err", err)
	return &reason.Error{Code: reason.AuditFull, Detail: err.Error()}
}

func codeOf(err error) reason.Code {
	if re := (*reason.Error)(nil); errors.As(err, &re) {
		return re.Code
	}
	return reason.Internal
}

func firstOf[T ~string](s ...T) T {
	for _, x := range s {
		if x != "" {
			return x
		}
	}
	return ""
}

// event begins an event about this connection.
func (c *conn) event(t audit.Type, g *grant) audit.Event {
	now := c.s.cfg.Now()
	e := audit.Event{
		ID: api.NewEventID(now), Time: now.UTC(), Type: t, Peer: c.s.cfg.Self(), Source: c.source.ID,
		SourceAddr: c.remote.String(), Session: c.id,
	}
	if g != nil {
		e.Issuer, e.Subject, e.User = g.subject.Ref.Issuer, g.subject.Ref.Subject, g.user
		e.LocalUser, e.Rule = g.account.Name, g.rule
		if t == audit.SessionStart {
			e.Key = g.subject.Thumbprint
		}
	}
	return e
}

// since is how long c has been there, in milliseconds.
func (c *conn) since(t time.Time) int64 { return c.s.cfg.Now().Sub(t).Milliseconds() }
