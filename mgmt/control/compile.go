package control

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"net/netip"
	"slices"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
	"lanyard/mgmt/policy"
	"lanyard/mgmt/store"
)

// world is everything that maps are made of, read at one time.
type world struct {
	settings store.Settings
	peers    []store.Peer
	policies []api.Policy
	users    []store.User
	groups   map[string][]api.GroupRef // by user id
	issuers  []api.Issuer
	revoked  []string
	heard    []store.HeardOf
	now      time.Time
	began    time.Time // when logins could begin to report to this process
	observed map[string]netip.Addr

	policy    policy.World
	unblocked policy.World          // the same, were nobody blocked
	rules     map[string][]api.Rule // by peer id

	ahead map[string]time.Time // logins whose newest token is of later than now, and since when they count as heard of
	fell  map[string]time.Time // logins that a map withdraws for their silence, and since when they are silent
	due   time.Time            // when the next one will be; zero: none
}

// World reads what policies are compiled against, for explanations and what a person may reach.
func (c *Control) World(ctx context.Context) (*policy.World, []api.Policy, error) {
	w, err := c.world(ctx)
	if err != nil {
		return nil, nil, err
	}
	return &w.policy, w.policies, nil
}

func (c *Control) world(ctx context.Context) (*world, error) {
	now := c.Now()
	w := &world{
		settings: c.Settings, groups: map[string][]api.GroupRef{}, rules: map[string][]api.Rule{}, now: now, began: c.beginning(now),
		ahead: map[string]time.Time{}, fell: map[string]time.Time{},
	}
	var err error
	if w.issuers, err = c.Issuers(ctx); err != nil {
		return nil, err
	}
	err = c.Store.Tx(ctx, func(q *store.Queries) error { // one transaction: one moment
		if w.peers, err = q.Peers(ctx); err != nil {
			return err
		}
		if w.policies, err = q.Policies(ctx); err != nil {
			return err
		}
		if w.users, err = q.Users(ctx); err != nil {
			return err
		}
		groups, err := q.Groups(ctx)
		if err != nil {
			return err
		}
		for _, g := range groups {
			for _, u := range g.Members {
				w.groups[u] = append(w.groups[u], api.GroupRef{Issuer: api.LocalIssuer, Name: g.Name})
			}
		}
		since := w.now.Add(-w.settings.LoginLifetime - time.Hour)
		if w.revoked, err = q.RevokedKeys(ctx, since); err != nil {
			return err
		}
		w.heard, err = q.HeardOf(ctx, since)
		return err
	})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	w.observed = make(map[string]netip.Addr, len(c.observed))
	for id, a := range c.observed {
		w.observed[id] = a
	}
	c.mu.Unlock()
	for _, p := range w.peers {
		w.policy.Peers = append(w.policy.Peers, p.Peer)
	}
	for _, u := range w.users {
		w.policy.Users = append(w.policy.Users, PolicyUser(u, w.groups[u.ID]))
	}
	w.unblocked.Peers, w.unblocked.Users = w.policy.Peers, slices.Clone(w.policy.Users)
	for i := range w.unblocked.Users {
		w.unblocked.Users[i].Blocked = false
	}
	for _, p := range w.peers {
		w.rules[p.ID] = policy.Compile(&w.policy, w.policies, p.Peer)
	}
	return w, nil
}

// PolicyUser is a stored person as policies see them.
func PolicyUser(u store.User, groups []api.GroupRef) policy.User {
	return policy.User{ID: u.ID, Ref: u.UserRef, Email: u.Email, Groups: groups, Blocked: u.Blocked}
}

// mapFor makes the map of p, without epoch, version and issue time.
func (w *world) mapFor(p store.Peer) *api.Map {
	m := &api.Map{
		Format: 1, Network: w.settings.Network, Overlay4: w.settings.Overlay4, Overlay6: w.settings.Overlay6,
		Zone: w.settings.Zone, Self: p.Peer, Peers: []api.Peer{}, Admit: []string{}, Rules: w.rules[p.ID],
		Issuers: w.issuers, RevokedKeys: w.revoked, MaxMapAge: api.Secs(w.settings.MaxMapAge), Users: []api.MapUser{},
	}
	if m.Rules == nil {
		m.Rules = []api.Rule{}
	}
	// What a machine says of itself is not news to it, and would make every report of endpoints a new map.
	m.Self.Endpoints = nil
	for _, other := range w.peers {
		if other.ID == p.ID {
			continue
		}
		in := policy.Connected(&w.policy, w.policies, other.Peer, p.Peer)
		out := policy.Connected(&w.policy, w.policies, p.Peer, other.Peer)
		if in {
			m.Admit = append(m.Admit, other.ID)
		}
		if !in && !out {
			if policy.Connected(&w.unblocked, w.policies, p.Peer, other.Peer) {
				m.Refused = append(m.Refused, api.RefusedPeer{Name: other.Name, ShortName: other.ShortName, Code: string(reason.Blocked)})
			}
			continue
		}
		peer := other.Peer
		peer.Endpoints = w.endpoints(p.ID, other)
		if out {
			peer.LoginAs = policy.LoginAs(w.rules[other.ID])
			peer.TokenAge = tokenAge(w.rules[other.ID])
			peer.MachineAccounts = policy.MachineAccounts(w.rules[other.ID], p.ID)
			peer.AnyProcess = policy.AnyProcess(w.rules[other.ID], p.ID)
		} else {
			// A machine that may only come in is not told what is offered there.
			peer.HostKeys, peer.ServesSSH = nil, false
		}
		m.Peers = append(m.Peers, peer)
	}
	slices.Sort(m.Admit)
	if len(m.Rules) > 0 {
		m.Users = w.usersFor(m.Rules)
		m.Silent, m.LoginGrace = w.silentFor(m.Rules), api.Secs(w.settings.LoginGrace)
	} else {
		m.RevokedKeys = nil
	}
	return m
}

// silentFor lists the logins that were not heard of for longer than the strictest of rules lets them be. The machine
// looks at each rule by itself. Nobody can report to a server that does not run: its start counts as word of all, but
// for those that were withdrawn before.
func (w *world) silentFor(rules []api.Rule) []api.SilentLogin {
	age := cmp.Or(tokenAge(rules).Duration(), policy.DefaultMaxTokenAge) + w.settings.LoginGrace
	var out []api.SilentLogin
	for _, h := range w.heard {
		since := h.Silent
		if since.IsZero() {
			since = h.Newest
			if since.Before(w.began) {
				since = w.began
			}
			// A token of later than now was seen while the clock was wrong. Nobody is silent for that: it counts as one of now.
			if since.After(w.now.Add(store.Leeway)) {
				since = w.now
				w.ahead[h.Thumbprint] = since
			}
		}
		since = since.UTC().Truncate(time.Second)
		until := since.Add(age)
		if w.now.After(until) {
			out = append(out, api.SilentLogin{Key: h.Thumbprint, Since: since})
			if h.Silent.IsZero() {
				w.fell[h.Thumbprint] = since
			}
			continue
		}
		if w.due.IsZero() || until.Before(w.due) {
			w.due = until
		}
	}
	return out
}

// tokenAge is the shortest age of a sign-in that one of the rules wants, when it is below the default; else 0.
func tokenAge(rules []api.Rule) api.Seconds {
	least := api.Secs(policy.DefaultMaxTokenAge)
	for _, r := range rules {
		if r.MaxTokenAge > 0 {
			least = min(least, r.MaxTokenAge)
		}
	}
	if least == api.Secs(policy.DefaultMaxTokenAge) {
		return 0
	}
	return least
}

// endpoints lists where self may reach other: what other said, and where this server sees it. A loopback address is
// told only to a machine that this server sees there too.
func (w *world) endpoints(self string, other store.Peer) []netip.AddrPort {
	out := slices.Clone(other.Endpoints)
	seen, ok := w.observed[other.ID]
	if !ok || len(out) == 0 || seen.IsLoopback() && !w.observed[self].IsLoopback() {
		return out
	}
	at := netip.AddrPortFrom(seen, out[0].Port()) // its tunnel has one port on all addresses
	if !slices.Contains(out, at) {
		out = append(out, at)
	}
	return out
}

// usersFor lists those of whom the map knows something that tokens do not say, as far as the rules concern them.
func (w *world) usersFor(rules []api.Rule) []api.MapUser {
	named := map[api.UserRef]bool{}
	groups := map[api.GroupRef]bool{}
	for _, r := range rules {
		for _, u := range r.Users {
			named[u] = true
		}
		for _, g := range r.Groups {
			groups[g] = true
		}
	}
	out := []api.MapUser{}
	for _, u := range w.users {
		var of []api.GroupRef
		for _, g := range w.groups[u.ID] {
			if groups[g] { // no other group decides anything there
				of = append(of, g)
			}
		}
		if !named[u.UserRef] && len(of) == 0 && !u.Blocked && u.NotBefore.IsZero() {
			continue
		}
		out = append(out, MapUser(u, of))
	}
	return out
}

// contentHash is a hash of all of m that is not its place in time.
func contentHash(m *api.Map) ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	h := sha256.Sum256(b)
	return h[:], nil
}

func sign(m *api.Map, key ed25519.PrivateKey) (*api.SignedMap, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return &api.SignedMap{Map: b, Sig: ed25519.Sign(key, api.MapMessage(b))}, nil
}

// MapUser is a stored person as a map shows them. That somebody is blocked stands for the end of their logins too,
// so that a machine refuses them for the better reason.
func MapUser(u store.User, groups []api.GroupRef) api.MapUser {
	m := api.MapUser{
		UserRef: u.UserRef, Email: u.Email, Name: u.Name, Blocked: u.Blocked, Groups: groups, NotBefore: u.NotBefore,
	}
	if u.Blocked {
		m.NotBefore = time.Time{}
	}
	return m
}
