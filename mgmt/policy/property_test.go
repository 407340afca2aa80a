package policy

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"lanyard/mgmt/api"
)

// world makes queries out of few values, so that chance hits often.
type chance struct{ *rand.Rand }

func pick[T any](c chance, from ...T) T { return from[c.IntN(len(from))] }

func some[T any](c chance, from ...T) []T {
	var out []T
	for _, v := range from {
		if c.IntN(3) == 0 {
			out = append(out, v)
		}
	}
	return out
}

func (c chance) flip() bool { return c.IntN(4) == 0 }

func (c chance) rule() api.Rule {
	return api.Rule{
		ID: "r", Name: "r", Deny: c.IntN(8) == 0, Everyone: c.IntN(6) == 0,
		Users: some(c, ann, bob), Groups: some(c, hand, idp),
		Machines:  some(c, api.MachineRef{Peer: "p1", Account: "runner"}, api.MachineRef{Peer: "p2", Account: "runner"}),
		OwnerOnly: c.flip(), As: some(c, "deploy", "root", "ann", anyAccount, emailLocal),
		Conditions: api.Conditions{
			OwnDevice: c.flip(), AMR: some(c, "otp"), OfflineForever: c.flip(), AnyProcess: c.flip(), MaxTokenAge: api.Seconds(c.IntN(2) * 60),
		},
	}
}

func (c chance) query() Query {
	owners := []api.UserRef{ann, bob, {}}
	q := Query{
		Self:   api.Peer{ID: "pself", Owner: pick(c, owners...)},
		Source: api.Peer{ID: pick(c, "p1", "p2", ""), Owner: pick(c, owners...)},
		Users:  map[api.UserRef]api.MapUser{ann: {Blocked: c.flip(), Groups: some(c, hand)}},
		Subject: Subject{
			Ref: pick(c, ann, ann, bob, api.UserRef{}), Email: pick(c, "ann@example.org", "root@example.org", "deploy@example.org", ""),
			EmailVerified: !c.flip(), EmailDomainOK: !c.flip(), Groups: some(c, hand, idp), AMR: some(c, "otp"),
			TokenTime: now.Add(-time.Duration(c.IntN(120)) * time.Minute), BoundAt: now.Add(-time.Hour),
		},
		Account: pick(c, Account{Name: "deploy", ID: "1001"}, Account{Name: "root", ID: "0", Privileged: true}, Account{Name: "ann", ID: "1002", System: c.flip()}, Account{}),
		Now:     now, MapIssued: now.Add(-time.Duration(c.IntN(36)) * time.Hour), Live: c.flip(),
	}
	if c.flip() {
		q.Subject.Ref = api.UserRef{}
		q.Subject.Machine = &api.MachineRef{Peer: pick(c, "p1", "p2"), Account: pick(c, "runner", "www", "")}
	}
	if c.flip() {
		q.Subject.AnyProcess = true
		if c.IntN(2) == 0 {
			q.Subject.Ref, q.Subject.Machine = api.UserRef{}, nil
		}
	}
	for range c.IntN(5) {
		q.Rules = append(q.Rules, c.rule())
	}
	return q
}

// mayAllow says, in other words than Decide, what must at least be true of a rule that lets q in.
func mayAllow(q Query, r api.Rule) bool {
	s := q.Subject
	machine := s.Machine != nil || s.AnyProcess
	groups := append(slices.Clone(s.Groups), q.Users[s.Ref].Groups...)
	switch {
	case r.Deny, !r.OfflineForever && now.Sub(q.MapIssued) > 24*time.Hour, q.Account.Name == "":
		return false
	case machine && (!s.Ref.IsZero() || r.OwnerOnly || r.OwnDevice || len(r.AMR) > 0 || q.Source.ID == ""):
		return false
	case s.Machine != nil && s.Machine.Peer != q.Source.ID:
		return false
	case machine && s.AnyProcess && (!r.AnyProcess || q.Account.Privileged):
		return false
	case machine && !slices.ContainsFunc(r.Machines, func(m api.MachineRef) bool {
		return m.Peer == q.Source.ID && (s.AnyProcess || m == *s.Machine)
	}):
		return false
	case !machine && (s.Ref.IsZero() || q.Users[s.Ref].Blocked):
		return false
	case !machine && !r.Everyone && !slices.Contains(r.Users, s.Ref) && !slices.ContainsFunc(r.Groups, func(g api.GroupRef) bool { return slices.Contains(groups, g) }):
		return false
	case r.OwnerOnly && q.Self.Owner != s.Ref, r.OwnDevice && q.Source.Owner != s.Ref:
		return false
	case len(r.AMR) > 0 && !slices.Contains(s.AMR, "otp"):
		return false
	case !machine && !q.Live && r.MaxTokenAge > 0 && now.Sub(s.TokenTime) > r.MaxTokenAge.Duration():
		return false
	case !machine && !q.Live && now.Sub(s.TokenTime) > time.Hour:
		return false
	}
	if slices.Contains(r.As, q.Account.Name) {
		return true
	}
	if q.Account.Privileged || q.Account.System {
		return false
	}
	local := s.Email == q.Account.Name+"@example.org" && s.EmailVerified && s.EmailDomainOK && !machine
	return slices.Contains(r.As, anyAccount) || slices.Contains(r.As, emailLocal) && local
}

// checkDecision: nobody gets in whom no rule lets in, and deny rules only take away.
func checkDecision(t *testing.T, q Query) (allowed bool) {
	t.Helper()
	d := Decide(q)
	matches := slices.ContainsFunc(q.Rules, func(r api.Rule) bool { return mayAllow(q, r) })
	if d.Allowed() && !matches {
		t.Fatalf("allowed, but no rule matches\n%+v\n%q", q, d.Steps)
	}
	allows := slices.DeleteFunc(slices.Clone(q.Rules), func(r api.Rule) bool { return r.Deny })
	plain := q
	plain.Rules = allows
	without := Decide(plain)
	if without.Allowed() && !matches || !without.Allowed() && matches {
		t.Fatalf("without the deny rules: %s, but a rule matches: %v\n%+v\n%q", without.Code, matches, plain, without.Steps)
	}
	if d.Allowed() && !without.Allowed() {
		t.Fatalf("a deny rule let somebody in\n%+v", q)
	}
	if !d.Code.Known() || !d.Allowed() && len(d.Can) > 0 {
		t.Fatalf("decision %+v", d)
	}
	empty := q
	empty.Rules = nil
	if Decide(empty).Allowed() {
		t.Fatalf("allowed without any rule\n%+v", q)
	}
	return d.Allowed()
}

func TestNobodyGetsInWithoutARule(t *testing.T) {
	c := chance{rand.New(rand.NewPCG(1, 2))}
	n := 0
	for range 50_000 {
		if checkDecision(t, c.query()) {
			n++
		}
	}
	if n < 500 {
		t.Errorf("only %d of the queries were allowed: the test proves little", n)
	}
}

func FuzzDecide(f *testing.F) {
	f.Add(uint64(1), uint64(2), "deploy", "ann@example.org", "deploy")
	f.Add(uint64(3), uint64(4), "root", "root@example.org", "{email.local}")
	f.Fuzz(func(t *testing.T, a, b uint64, account, email, as string) {
		c := chance{rand.New(rand.NewPCG(a, b))}
		checkDecision(t, c.query())
		// A general rule never yields a special account, whatever the strings.
		q := query(rule(func(r *api.Rule) { r.As = []string{anyAccount, emailLocal} }))
		q.Account, q.Subject.Email = Account{Name: account, ID: "0"}, email
		if Decide(q).Allowed() {
			t.Fatalf("%q with uid 0 by a general rule", account)
		}
		// What a rule names and what is asked for are equal, or the rule is general.
		q = query(rule(func(r *api.Rule) { r.As = []string{as} }))
		q.Account, q.Subject.Email = Account{Name: account, ID: "1001"}, email
		if Decide(q).Allowed() && as != account && as != anyAccount && as != emailLocal {
			t.Fatalf("%q by a rule for %q", account, as)
		}
	})
}
