package daemon

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/client"
	"lanyard/mgmt/api/reason"
	"lanyard/mgmt/policy"
	"lanyard/platform/accounts"
	"lanyard/service/ipc"
	"lanyard/service/names"
	"lanyard/service/netmap"
	"lanyard/service/sshconfig"
	"lanyard/service/tunnel"
)

func (d *Daemon) calls() ipc.Calls {
	return ipc.Calls{
		Access: func() ipc.Access {
			st := d.machine.State()
			return ipc.Access{Operator: st.Operator, Connect: st.Connect}
		},
		Status: func(ipc.Who) *ipc.Status { return d.status() }, Changed: d.watch, Machine: d.facts,
		Login: d.login, Certificate: d.certificate, Explain: d.explain, Connect: d.connect,
		Up: d.up, Down: d.down, Enroll: d.enroll, End: d.end,
		Ask: d.ask, Asks: d.asks.Listen, Answer: d.asks.Answer,
	}
}

func (d *Daemon) status() *ipc.Status {
	st, n := d.machine.State(), d.network()
	s := &ipc.Status{
		Profile: d.opt.Profile, Release: d.opt.Release, State: ipc.StateNew, Server: st.Server, Network: st.Network,
		SSH: ipc.SSH{Allowed: st.AllowSSH}, Operator: st.Operator.Name, StartedAt: d.started, PID: os.Getpid(),
		Peers: []ipc.Peer{}, Sessions: []ipc.Session{},
	}
	q := d.spool.Status()
	s.Audit = ipc.Audit{Pending: q.Pending, Bytes: q.Bytes, Limit: q.Limit, Full: q.Full}
	if q.Full {
		s.Problems = append(s.Problems, reason.AuditFull.Sentence())
	}
	switch {
	case st.Removed != "":
		s.State, s.Removed = ipc.StateRemoved, st.Removed
		s.Problems = append(s.Problems, st.Removed)
	case st.Enrolled():
		s.State = ipc.StateDown
	}
	names, from, problems := d.managedProblems()
	s.Managed, s.ManagedBy, s.Problems = names, from, append(s.Problems, problems...)
	if n != nil {
		n.describe(s)
	}
	return s
}

// problem is what status says of an error, with its reason code where it has one.
func problem(err error) string {
	var refused *api.Error
	if errors.As(err, &refused) && refused.Code != "" {
		return fmt.Sprintf("%v [%s]", err, refused.Code)
	}
	return err.Error()
}

// describe fills in what the network that is up knows.
func (n *network) describe(s *ipc.Status) {
	n.mu.Lock()
	tun, online, heard, serving, present := n.tun, n.online, n.heard, n.serving, n.present
	for _, part := range slices.Sorted(maps.Keys(n.problems)) {
		s.Problems = append(s.Problems, problem(n.problems[part]))
	}
	n.mu.Unlock()
	s.State = ipc.StateConnecting
	var m *api.Map
	if n.store != nil {
		m = n.store.Current()
	}
	var ts tunnel.Status
	if tun != nil {
		ts = tun.Status()
		s.Tunnel = ipc.Tunnel{Mode: ts.Mode, Name: ts.Interface, ListenPort: ts.ListenPort}
		s.SSH.Mode, s.SSH.Detail = ts.Listener, ts.ListenerWhy
	}
	if m == nil {
		return
	}
	s.SSH.Admits = admits(m)
	s.SSH.Serving = serving && s.SSH.Allowed && len(m.Rules) > 0
	s.Map = &ipc.Map{
		Epoch: m.Epoch, Version: m.Version, IssuedAt: m.IssuedAt, HeardAt: heard,
		MaxAge: api.Secs(netmap.MaxAge(m)), Stale: n.stale(m),
	}
	switch {
	case tun != nil && online:
		s.State = ipc.StateConnected
	case tun != nil:
		s.State = ipc.StateOffline
	}
	if s.Map.Stale {
		s.Problems = append(s.Problems, reason.MapStale.Sentence())
	}
	flow := byID(ts)
	self := n.peer(m, m.Self, tunnel.PeerStatus{})
	s.Self = &self
	for _, p := range m.Peers {
		peer := n.peer(m, p, flow[p.ID])
		peer.Online = present[p.ID].about(flow[p.ID])
		s.Peers = append(s.Peers, peer)
	}
	for _, i := range m.Issuers {
		s.Issuers = append(s.Issuers, ipc.Issuer{URL: i.URL, Name: i.Name})
	}
	s.Sessions = append(n.sessions(), n.d.old.Sessions()...)
}

// sessions lists those that this process serves.
func (n *network) sessions() []ipc.Session {
	all := []ipc.Session{}
	for _, x := range n.ssh.Sessions() {
		all = append(all, ipc.Session{
			ID: x.ID, User: x.User, Source: x.Source.Name, SourceAddr: x.SourceAddr.String(), LocalUser: x.LocalUser,
			Since: x.Since, Rule: x.RuleName, Channels: x.Channels,
		})
	}
	return all
}

func (n *network) peer(m *api.Map, p api.Peer, t tunnel.PeerStatus) ipc.Peer {
	return ipc.Peer{
		ID: p.ID, Name: p.Name, ShortName: p.ShortName, SSHName: sshconfig.HostNames(n.d.opt.Profile, m, p.Name, p.ShortName)[0], Addr4: p.Addr4, Addr6: p.Addr6, Tags: p.Tags, OS: p.OS,
		ServesSSH: p.ServesSSH, LoginAs: p.LoginAs, MachineAccounts: p.MachineAccounts, AnyProcess: p.AnyProcess, TokenAge: p.TokenAge, Own: !p.Owner.IsZero() && p.Owner == m.Self.Owner,
		Endpoint: t.Endpoint, Handshake: t.LastHandshake, RxBytes: int64(t.RxBytes), TxBytes: int64(t.TxBytes),
	}
}

// facts are what a program needs to sign a person in.
func (d *Daemon) facts() *ipc.Machine {
	st := d.machine.State()
	out := &ipc.Machine{
		Profile: d.opt.Profile, Server: st.Server, Enrolled: st.Enrolled(), PeerID: st.PeerID, Name: firstOf(st.Name, hostName()),
	}
	if n := d.network(); n != nil {
		out.Userspace = n.userspace()
		if n.store != nil {
			if m := n.store.Current(); m != nil {
				for _, i := range m.Issuers {
					i.Keys, i.Withdrawn = nil, nil
					out.MapIssuers = append(out.MapIssuers, i)
				}
			}
		}
	}
	if !out.Enrolled && st.Server != "" {
		if b, err := d.enrollBody(st, ""); err == nil {
			out.EnrollBody = b
		}
	}
	return out
}

// login pushes a person's authorization request with the machine's proof. The socket filled in the account.
func (d *Daemon) login(ctx context.Context, r api.LoginStart) (*api.LoginStarted, error) {
	st := d.machine.State()
	switch {
	case st.Server == "":
		return nil, bad("This machine is not part of a network yet; run 'lanyard up URL' first.")
	case r.Purpose == api.PurposeLogin && !st.Enrolled():
		return nil, bad("This machine is not enrolled yet; run 'lanyard up' first.")
	}
	c, err := client.New(st.Server)
	if err != nil {
		return nil, err
	}
	defer c.HTTP().CloseIdleConnections()
	r.MachineName = firstOf(st.Name, hostName())
	return c.Login(ctx, client.Machine{Key: d.machine.Key(), Subject: st.PeerID}, r)
}

// connect opens a connection to a peer of the map through the tunnel.
func (d *Daemon) connect(ctx context.Context, host string, port uint16) (net.Conn, error) {
	n := d.network()
	if n == nil || n.store == nil || n.store.Current() == nil || n.tunnel() == nil {
		return nil, &api.Error{Status: http.StatusServiceUnavailable, Message: "Lanyard is not connected; run 'lanyard up'."}
	}
	p, ok := sshconfig.Lookup(n.store.Current(), host)
	if !ok {
		return nil, &api.Error{
			Status: http.StatusNotFound, Code: string(reason.NoRule),
			Message: fmt.Sprintf("No machine %q is in reach; 'lanyard status' lists those that are.", host),
		}
	}
	addr := p.Addr4
	if !addr.IsValid() {
		addr = p.Addr6
	}
	conn, err := n.tunnel().Dial(ctx, netip.AddrPortFrom(addr, port))
	if err != nil {
		return nil, &api.Error{
			Status: http.StatusBadGateway, Code: string(reason.Unreachable),
			Message: fmt.Sprintf("%s does not answer through the tunnel (%v); 'lanyard status' shows when it was last heard of.", p.Name, err),
		}
	}
	return conn, nil
}

// ask has the caller's tray ask them to sign in. It shows a name of the map's, not one that a program made up.
func (d *Daemon) ask(ctx context.Context, who ipc.Who, r ipc.AskRequest) error {
	to := ""
	if n := d.network(); n != nil && n.store != nil && n.store.Current() != nil {
		if p, ok := sshconfig.Lookup(n.store.Current(), r.To); ok && api.CheckName(p.Name) == nil {
			to = names.Short(d.opt.Profile, p.Name)
		}
	}
	return d.asks.Ask(ctx, who, to)
}

// end ends a session for whoever may change things, and for the account that it runs as.
func (d *Daemon) end(who ipc.Who, id string) error {
	n := d.network()
	notHere := &api.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("No session %q is here; 'lanyard status' lists them.", id)}
	if n == nil || n.ssh == nil {
		return notHere
	}
	for _, s := range append(n.sessions(), d.old.Sessions()...) {
		if s.ID != id {
			continue
		}
		if who.Class != ipc.ClassChange {
			a, err := accounts.Lookup(s.LocalUser)
			if err != nil || who.ID == "" || a.UID != who.ID {
				return &api.Error{Status: http.StatusForbidden, Message: "Only an administrator, the operator and the account that a session runs as may end it."}
			}
		}
		if n.ssh.End(id, reason.EndedHere) || d.old.End(id) {
			return nil
		}
	}
	return notHere
}

// explain answers by this machine's own rules, for its administrators: the daemon cannot know who a caller is to the
// identity provider. Everyone else asks the management server.
func (d *Daemon) explain(_ context.Context, who ipc.Who, r api.ExplainRequest) (*api.ExplainReply, error) {
	n := d.network()
	switch {
	case who.Class != ipc.ClassChange:
		return nil, &api.Error{Status: http.StatusForbidden, Message: "This machine explains its rules to its administrators; for yourself, run 'lanyard explain' while the management server answers."}
	case n == nil || n.inUse.Load() == nil:
		return nil, errors.New("this machine has no network map; run 'lanyard up'")
	}
	st := n.inUse.Load()
	m := st.Map
	if r.Target != "" && r.Target != m.Self.ID && r.Target != m.Self.Name {
		return nil, bad("Without the management server, this machine (%s) can only explain access to itself.", m.Self.Name)
	}
	q := policy.Query{
		Self: m.Self, Rules: m.Rules, Users: map[api.UserRef]api.MapUser{}, RevokedKeys: st.Trust.RevokedKeys,
		Overlay: []netip.Prefix{m.Overlay4, m.Overlay6}, Now: d.now(), MapIssued: m.IssuedAt, MaxMapAge: netmap.MaxAge(m),
		Limits:  st.Limits,
		Subject: policy.Subject{TokenTime: d.now(), BoundAt: d.now(), AuthTime: d.now()},
	}
	found := false
	if source, account, ok := strings.Cut(strings.TrimPrefix(r.User, api.MachineSubject), "/"); ok && strings.HasPrefix(r.User, api.MachineSubject) {
		i := slices.IndexFunc(m.Peers, func(p api.Peer) bool { return p.ID == source || p.Name == source })
		if i < 0 {
			return nil, bad("No policy connects a machine called %q with this one.", source)
		}
		found, r.Source = true, source
		q.Subject = policy.Subject{Machine: &api.MachineRef{Peer: m.Peers[i].ID, Account: account}}
	}
	for _, u := range m.Users {
		q.Users[u.UserRef] = u
		if !found && r.User != "" && (strings.EqualFold(u.Email, r.User) || u.Subject == r.User) {
			found = true
			q.Subject.Ref, q.Subject.Email, q.Subject.EmailVerified = u.UserRef, u.Email, true
			q.Subject.Groups = u.Groups
		}
	}
	if !found {
		return nil, bad("This machine's rules name nobody called %q; give the email address.", r.User)
	}
	q.Source = m.Self
	for _, p := range m.Peers {
		if r.Source != "" && (p.ID == r.Source || p.Name == r.Source) {
			q.Source = p
		}
	}
	a, err := accounts.Lookup(r.Account)
	if err != nil {
		return &api.ExplainReply{Code: string(reason.NoAccount), Message: reason.NoAccount.Sentence(), Steps: []string{err.Error()}}, nil //nolint:nilerr // it is the answer
	}
	q.Account = policy.Account{Name: a.Name, ID: a.UID, Privileged: a.Privileged, System: a.System}
	dec := policy.Decide(q)
	out := &api.ExplainReply{
		Allowed: dec.Allowed(), Code: string(dec.Code), Message: dec.Code.Sentence(), Rule: dec.RuleName, Steps: dec.Steps,
	}
	for c, ok := range dec.Can {
		if ok && dec.Allowed() {
			out.Can = append(out.Can, string(c))
		}
	}
	slices.Sort(out.Can)
	return out, nil
}

func keyBytes(k crypto.PublicKey) []byte { return k.(ed25519.PublicKey) }
