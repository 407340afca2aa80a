package policy

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
)

const iss = "https://id.example"

var (
	now  = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	ann  = api.UserRef{Issuer: iss, Subject: "ann"}
	bob  = api.UserRef{Issuer: iss, Subject: "bob"}
	hand = api.GroupRef{Issuer: api.LocalIssuer, Name: "ops"}
	idp  = api.GroupRef{Issuer: iss, Name: "ops"}
)

// rule is an allow rule for ann as deploy.
func rule(change ...func(*api.Rule)) api.Rule {
	r := api.Rule{ID: "r1", Name: "one", Users: []api.UserRef{ann}, As: []string{"deploy"}}
	for _, c := range change {
		c(&r)
	}
	return r
}

// query is ann's, from her own machine, with all that a rule could want.
func query(rules ...api.Rule) Query {
	return Query{
		Self:   api.Peer{ID: "pserver", Name: "web-1", Owner: bob},
		Rules:  rules,
		Users:  map[api.UserRef]api.MapUser{ann: {UserRef: ann}},
		Source: api.Peer{ID: "plaptop", Name: "laptop", Owner: ann},
		Subject: Subject{
			Ref: ann, Email: "ann@example.org", EmailVerified: true, EmailDomainOK: true, Groups: []api.GroupRef{idp},
			AMR: []string{"pwd", "otp"}, ACR: "2", TokenTime: now.Add(-10 * time.Minute), BoundAt: now.Add(-2 * time.Hour),
			LoginExpires: now.Add(22 * time.Hour), Thumbprint: "t1",
		},
		Account: Account{Name: "deploy", ID: "1001"},
		Now:     now, MapIssued: now.Add(-time.Minute),
	}
}

func machineQuery(rules ...api.Rule) Query {
	q := query(rules...)
	q.Subject = Subject{Machine: &api.MachineRef{Peer: "plaptop", Account: "runner"}}
	return q
}

func machineRule(change ...func(*api.Rule)) api.Rule {
	return rule(append([]func(*api.Rule){func(r *api.Rule) {
		r.Users, r.Machines = nil, []api.MachineRef{{Peer: "plaptop", Account: "runner"}}
	}}, change...)...)
}

func as(names ...string) func(*api.Rule) { return func(r *api.Rule) { r.As = names } }

func root(q *Query)  { q.Account = Account{Name: "root", ID: "0", Privileged: true, System: true} }
func stale(q *Query) { q.MapIssued = now.Add(-25 * time.Hour) }

type decideCase struct {
	name   string
	q      Query
	change func(*Query)
	want   reason.Code
}

func same(*Query) {}

func personCases() []decideCase {
	deny := func(names ...string) api.Rule {
		return rule(as(names...), func(r *api.Rule) { r.ID, r.Deny = "r2", true })
	}
	return []decideCase{
		{"named user", query(rule()), same, reason.OK},
		{"no rules", query(), same, reason.NoRule},
		{"nobody signed in", query(rule()), func(q *Query) { q.Subject = Subject{} }, reason.TokenMissing},
		{"no account", query(rule()), func(q *Query) { q.Account = Account{} }, reason.NoAccount},
		{"another user", query(rule()), func(q *Query) { q.Subject.Ref = bob }, reason.NoRule},
		{"same subject of another issuer", query(rule()), func(q *Query) { q.Subject.Ref.Issuer = "https://foe.example" }, reason.NoRule},
		{"everyone", query(rule(func(r *api.Rule) { r.Users, r.Everyone = nil, true })), same, reason.OK},
		{"group of the token", query(rule(func(r *api.Rule) { r.Users, r.Groups = nil, []api.GroupRef{idp} })), same, reason.OK},
		{"group by hand is another", query(rule(func(r *api.Rule) { r.Users, r.Groups = nil, []api.GroupRef{hand} })), same, reason.NoRule},
		{
			"group added by the map", query(rule(func(r *api.Rule) { r.Users, r.Groups = nil, []api.GroupRef{hand} })),
			func(q *Query) {
				q.Users = map[api.UserRef]api.MapUser{ann: {UserRef: ann, Groups: []api.GroupRef{hand}}}
			}, reason.OK,
		},
		{"user absent from the map", query(rule()), func(q *Query) { q.Users = nil }, reason.OK},

		{"blocked", query(rule()), func(q *Query) { q.Users[ann] = api.MapUser{UserRef: ann, Blocked: true} }, reason.Blocked},
		{"not-before after the login", query(rule()), func(q *Query) { q.Users[ann] = api.MapUser{NotBefore: now.Add(-time.Hour)} }, reason.Revoked},
		{"not-before before the login", query(rule()), func(q *Query) { q.Users[ann] = api.MapUser{NotBefore: now.Add(-3 * time.Hour)} }, reason.OK},
		{"revoked key", query(rule()), func(q *Query) { q.RevokedKeys = map[string]bool{"t1": true} }, reason.Revoked},
		{"another key revoked", query(rule()), func(q *Query) { q.RevokedKeys = map[string]bool{"t2": true} }, reason.OK},
		{"login ended", query(rule()), func(q *Query) { q.Subject.LoginExpires = now }, reason.LoginExpired},

		{"another account", query(rule()), func(q *Query) { q.Account = Account{Name: "www", ID: "1002"} }, reason.LocalUser},
		{"account in capitals", query(rule()), func(q *Query) { q.Account.Name = "Deploy" }, reason.LocalUser},
		{"account of Windows in capitals", query(rule(as(`HOME\ann`))), func(q *Query) { q.Account = Account{Name: `Home\Ann`, ID: "S-1-5-21-1-1001"} }, reason.OK},
		{"any account", query(rule(as("*"))), same, reason.OK},
		{"any account is not root", query(rule(as("*"))), root, reason.Privileged},
		{"any account is not uid 0", query(rule(as("*"))), func(q *Query) { q.Account = Account{Name: "toor", ID: "0"} }, reason.Privileged},
		{"any account is not a system account", query(rule(as("*"))), func(q *Query) { q.Account = Account{Name: "daemon", ID: "1", System: true} }, reason.Privileged},
		{"root by name", query(rule(as("root"))), root, reason.OK},
		{"root's rule for a second name of uid 0", query(rule(as("root"))), func(q *Query) { q.Account = Account{Name: "toor", ID: "0", Privileged: true} }, reason.LocalUser},
		{"system account by name", query(rule(as("www-data"))), func(q *Query) { q.Account = Account{Name: "www-data", ID: "33", System: true} }, reason.OK},

		{"own device", query(rule(func(r *api.Rule) { r.OwnDevice = true })), same, reason.OK},
		{"someone else's device", query(rule(func(r *api.Rule) { r.OwnDevice = true })), func(q *Query) { q.Source.Owner = bob }, reason.OwnDevice},
		{"nobody's device", query(rule(func(r *api.Rule) { r.OwnDevice = true })), func(q *Query) { q.Source.Owner = api.UserRef{} }, reason.OwnDevice},
		{"owner only", query(rule(func(r *api.Rule) { r.Everyone, r.OwnerOnly = true, true })), same, reason.NoRule},
		{"owner", query(rule(func(r *api.Rule) { r.Everyone, r.OwnerOnly = true, true })), func(q *Query) { q.Self.Owner = ann }, reason.OK},

		{"acr", query(rule(func(r *api.Rule) { r.ACR = []string{"1", "2"} })), same, reason.OK},
		{"weaker acr", query(rule(func(r *api.Rule) { r.ACR = []string{"3"} })), same, reason.MFA},
		{"amr", query(rule(func(r *api.Rule) { r.AMR = []string{"hwk", "otp"} })), same, reason.OK},
		{"other amr", query(rule(func(r *api.Rule) { r.AMR = []string{"hwk"} })), same, reason.MFA},
		{"no amr", query(rule(func(r *api.Rule) { r.AMR = []string{"otp"} })), func(q *Query) { q.Subject.AMR = nil }, reason.MFA},
		{"acr without amr", query(rule(func(r *api.Rule) { r.ACR, r.AMR = []string{"2"}, []string{"hwk"} })), same, reason.MFA},

		{"token of an hour", query(rule()), func(q *Query) { q.Subject.TokenTime = now.Add(-time.Hour) }, reason.OK},
		{"token of more than an hour", query(rule()), func(q *Query) { q.Subject.TokenTime = now.Add(-time.Hour - 1) }, reason.TokenExpired},
		{"token without time", query(rule()), func(q *Query) { q.Subject.TokenTime = time.Time{} }, reason.TokenExpired},
		{"rule wants a younger token", query(rule(func(r *api.Rule) { r.MaxTokenAge = 300 })), same, reason.TokenExpired},
		{"live session with an old token", query(rule()), func(q *Query) { q.Live, q.Subject.TokenTime = true, now.Add(-9*time.Hour) }, reason.OK},
		{"live session of an ended login", query(rule()), func(q *Query) { q.Live, q.Subject.LoginExpires = true, now }, reason.LoginExpired},
		{"live session of a blocked person", query(rule()), func(q *Query) { q.Live = true; q.Users[ann] = api.MapUser{Blocked: true} }, reason.Blocked},
		{"live session whose rule is gone", query(), func(q *Query) { q.Live = true }, reason.NoRule},

		{"stale map", query(rule()), stale, reason.MapStale},
		{"stale by the map's own limit", query(rule()), func(q *Query) { q.MaxMapAge = 30 * time.Second }, reason.MapStale},
		{"break-glass rule", query(rule(func(r *api.Rule) { r.OfflineForever = true })), stale, reason.OK},
		{
			"blocked beats break-glass", query(rule(func(r *api.Rule) { r.OfflineForever = true })),
			func(q *Query) { stale(q); q.Users[ann] = api.MapUser{Blocked: true} }, reason.Blocked,
		},
		{"no map time", query(rule()), func(q *Query) { q.MapIssued = time.Time{} }, reason.MapStale},
		{"clock before the map", query(rule()), func(q *Query) { q.Now = now.Add(-30 * 24 * time.Hour) }, reason.OK},

		{"clock before the map, login ended by the map's time", query(rule()), func(q *Query) {
			q.Now, q.Subject.LoginExpires = now.Add(-30*24*time.Hour), q.MapIssued
		}, reason.LoginExpired},

		{"deny wins, before", query(deny("deploy"), rule()), same, reason.LocalUser},
		{"deny wins, after", query(rule(), deny("deploy")), same, reason.LocalUser},
		{"deny of any account", query(rule(), deny("*")), same, reason.NoRule},
		{"deny of any account covers root", query(rule(as("root")), deny("*")), root, reason.NoRule},
		{"deny of root covers uid 0", query(rule(as("toor")), deny("root")), func(q *Query) { q.Account = Account{Name: "toor", ID: "0", Privileged: true} }, reason.LocalUser},
		{"deny of another account", query(rule(), deny("www")), same, reason.OK},
		{"deny of another user", query(rule(), deny("deploy")), func(q *Query) { q.Rules[1].Users = []api.UserRef{bob} }, reason.OK},
		{
			"deny of email.local without verified email", query(rule(as("ann")), deny("{email.local}")),
			func(q *Query) { q.Account.Name, q.Subject.EmailVerified = "ann", false }, reason.LocalUser,
		},
		{"deny does not wait for a fresh map", query(rule(func(r *api.Rule) { r.OfflineForever = true }), deny("deploy")), stale, reason.LocalUser},
	}
}

func machineCases() []decideCase {
	anyProcess := func(r *api.Rule) { r.AnyProcess = true }
	none := func(q *Query) { q.Subject = Subject{AnyProcess: true} }
	return []decideCase{
		{"machine", machineQuery(machineRule()), same, reason.OK},
		{"machine, another account on it", machineQuery(machineRule()), func(q *Query) { q.Subject.Machine.Account = "www" }, reason.NoRule},
		{"machine, identity of another source", machineQuery(machineRule()), func(q *Query) { q.Subject.Machine.Peer = "pother" }, reason.NoRule},
		{"machine, from another source", machineQuery(machineRule()), func(q *Query) { q.Source.ID = "pother" }, reason.NoRule},
		{"machine under everyone", machineQuery(rule(func(r *api.Rule) { r.Everyone = true })), same, reason.NoRule},
		{"machine, owner only", machineQuery(machineRule(func(r *api.Rule) { r.OwnerOnly = true })), same, reason.NoRule},
		{"machine, own device", machineQuery(machineRule(func(r *api.Rule) { r.OwnDevice = true })), same, reason.OwnDevice},
		{"machine, amr", machineQuery(machineRule(func(r *api.Rule) { r.AMR = []string{"otp"} })), same, reason.MFA},
		{"machine, acr", machineQuery(machineRule(func(r *api.Rule) { r.ACR = []string{"2"} })), func(q *Query) { q.Subject.ACR = "2" }, reason.MFA},
		{"machine, email.local", machineQuery(machineRule(as("{email.local}"))), same, reason.LocalUser},
		{"machine as root by name", machineQuery(machineRule(as("root"))), root, reason.OK},
		{"machine and person at once", machineQuery(machineRule(), rule()), func(q *Query) { q.Subject.Ref = ann }, reason.NoRule},
		{"person under a machine's rule", query(machineRule()), same, reason.NoRule},
		{"none under any_process", machineQuery(machineRule(anyProcess)), none, reason.OK},
		{"none without any_process", machineQuery(machineRule()), none, reason.NoRule},
		{"none from another source", machineQuery(machineRule(anyProcess)), func(q *Query) { none(q); q.Source.ID = "pother" }, reason.NoRule},
		{"none as root, named", machineQuery(machineRule(anyProcess, as("root"))), func(q *Query) { none(q); root(q) }, reason.Privileged},
		{"none without source", machineQuery(machineRule(anyProcess)), func(q *Query) { none(q); q.Source.ID = "" }, reason.NoRule},
		{"none with a deny rule for the machine", machineQuery(machineRule(anyProcess), machineRule(func(r *api.Rule) { r.Deny = true })), none, reason.LocalUser},
		{"machine, stale map", machineQuery(machineRule()), stale, reason.MapStale},
	}
}

func TestDecide(t *testing.T) {
	for _, c := range append(personCases(), machineCases()...) {
		t.Run(c.name, func(t *testing.T) {
			c.change(&c.q)
			d := Decide(c.q)
			if d.Code != c.want {
				t.Fatalf("%s, want %s; %s", d.Code, c.want, strings.Join(d.Steps, " "))
			}
			if d.Allowed() != (c.want == reason.OK) || len(d.Steps) == 0 && len(c.q.Rules) > 0 {
				t.Errorf("allowed %v, steps %q", d.Allowed(), d.Steps)
			}
			if !d.Allowed() && (len(d.Can) > 0 || d.Has(api.CapShell)) {
				t.Error("a refusal grants something")
			}
		})
	}
}

func TestEmailLocalYieldsPlainAccountsOfAssignedDomainsOnly(t *testing.T) {
	for _, c := range []struct {
		email, account string
		change         func(*Query)
		want           reason.Code
	}{
		{"ann@example.org", "ann", same, reason.OK},
		{"Ann@example.org", "ann", same, reason.OK},
		{"ann.smith@example.org", "ann.smith", same, reason.OK},
		{"ann@example.org", "bob", same, reason.LocalUser},
		{"ann@example.org", "ann", func(q *Query) { q.Subject.EmailVerified = false }, reason.LocalUser},
		{"ann@example.org", "ann", func(q *Query) { q.Subject.EmailDomainOK = false }, reason.LocalUser},
		{"ann+x@example.org", "ann+x", same, reason.LocalUser},
		{"ann+x@example.org", "ann", same, reason.LocalUser},
		{"-oann@example.org", "-oann", same, reason.LocalUser},
		{"0@example.org", "0", same, reason.LocalUser},
		{"a/b@example.org", "a/b", same, reason.LocalUser},
		{"..@example.org", "..", same, reason.LocalUser},
		{"a..b@example.org", "a..b", same, reason.LocalUser},
		{"ann", "ann", same, reason.LocalUser},
		{"ann@", "ann", same, reason.LocalUser},
		{"ann@foe.example@example.org", "ann", same, reason.LocalUser},
		{`"ann"@example.org`, `"ann"`, same, reason.LocalUser},
		{"root@example.org", "root", func(q *Query) { q.Account.ID, q.Account.Privileged = "0", true }, reason.Privileged},
		{"daemon@example.org", "daemon", func(q *Query) { q.Account.System = true }, reason.Privileged},
		// The map's address wins, in the domain that the token showed.
		{"ann@example.org", "anna", func(q *Query) { q.Users[ann] = api.MapUser{Email: "anna@EXAMPLE.org"} }, reason.OK},
		{"ann@example.org", "ann", func(q *Query) { q.Users[ann] = api.MapUser{Email: "anna@example.org"} }, reason.LocalUser},
		{"ann@example.org", "anna", func(q *Query) { q.Users[ann] = api.MapUser{Email: "anna@other.example"} }, reason.LocalUser},
		{"", "anna", func(q *Query) { q.Users[ann] = api.MapUser{Email: "anna@example.org"} }, reason.LocalUser},
	} {
		q := query(rule(as("{email.local}")))
		q.Subject.Email, q.Account.Name = c.email, c.account
		c.change(&q)
		if d := Decide(q); d.Code != c.want {
			t.Errorf("%q as %q: %s, want %s; %q", c.email, c.account, d.Code, c.want, d.Steps)
		}
	}
}

func TestTheClosestRuleNamesTheReason(t *testing.T) {
	stages := []api.Rule{
		rule(func(r *api.Rule) { r.Name, r.Users = string(reason.NoRule), []api.UserRef{bob} }),
		rule(as("www"), func(r *api.Rule) { r.Name = string(reason.LocalUser) }),
		rule(as("*"), func(r *api.Rule) { r.Name = string(reason.Privileged) }),
		rule(as("root"), func(r *api.Rule) { r.Name, r.OwnDevice = string(reason.OwnDevice), true }),
		rule(as("root"), func(r *api.Rule) { r.Name = string(reason.MapStale) }),
		rule(as("root"), func(r *api.Rule) {
			r.Name, r.OfflineForever, r.AMR = string(reason.MFA), true, []string{"hwk"}
		}),
		rule(as("root"), func(r *api.Rule) { r.Name, r.OfflineForever, r.MaxTokenAge = string(reason.TokenExpired), true, 1 }),
	}
	for i := range stages {
		for _, order := range [][]int{{0, i}, {i, 0}} {
			// The first i+1 rules, in either order: the last of them came closest.
			rules := append([]api.Rule{}, stages[:i+1]...)
			if order[0] == i {
				for a, b := 0, len(rules)-1; a < b; a, b = a+1, b-1 {
					rules[a], rules[b] = rules[b], rules[a]
				}
			}
			q := query(rules...)
			q.Source.Owner = bob
			root(&q)
			stale(&q)
			d := Decide(q)
			if want := stages[i].Name; string(d.Code) != want || i > 0 && d.RuleName != want {
				t.Errorf("up to %s: %s by rule %q", want, d.Code, d.RuleName)
			}
		}
	}
}

func TestAccessIsTheUnionOfTheRulesThatPass(t *testing.T) {
	q := query(
		rule(func(r *api.Rule) {
			r.Can, r.MaxSession, r.Idle = []api.Capability{api.CapShell, api.CapSFTPRead}, 600, 60
		}),
		rule(func(r *api.Rule) {
			r.ID, r.Name, r.Can, r.MaxSession = "r2", "two", []api.Capability{api.CapExec, api.CapForwardLocal}, 3600
			r.ForwardTo, r.FileEvents = []string{"db.internal:5432"}, 20_000
		}),
		rule(func(r *api.Rule) { // does not pass
			r.ID, r.Can, r.AMR = "r3", []api.Capability{api.CapX11}, []string{"hwk"}
		}),
	)
	d := Decide(q)
	if !d.Allowed() || d.Rule != "r1" {
		t.Fatalf("%s by %q", d.Code, d.Rule)
	}
	for c, want := range map[api.Capability]bool{
		api.CapShell: true, api.CapExec: true, api.CapSFTPRead: true, api.CapSFTP: false, api.CapX11: false, api.CapForwardLocal: true, api.CapPTY: false,
	} {
		if d.Has(c) != want {
			t.Errorf("%s: %v", c, !want)
		}
	}
	if d.MaxSession != time.Hour || d.Idle != 0 {
		t.Errorf("max session %v, idle %v", d.MaxSession, d.Idle)
	}
	if one := Decide(query(rule())); d.FileEvents != 20_000 || one.FileEvents != 1000 {
		t.Errorf("%d operations on files are recorded, by a rule that does not say %d", d.FileEvents, one.FileEvents)
	}
	if len(d.ForwardTo) != 1 || d.ForwardTo[0] != "db.internal:5432" {
		t.Errorf("forward to %q: a rule without forward-local must not add loopback", d.ForwardTo)
	}
	d = Decide(query(rule()))
	for _, c := range api.AllCapabilities() {
		want := c == api.CapSFTPRead
		for _, def := range api.DefaultCapabilities() {
			want = want || c == def
		}
		if d.Has(c) != want {
			t.Errorf("by default %s: %v", c, d.Has(c))
		}
	}
}

func TestListenersAreOnLoopbackUnlessTheRuleSaysOtherwise(t *testing.T) {
	remote := func(on ...string) Decision {
		return Decide(query(rule(func(r *api.Rule) {
			r.Can, r.Listen = []api.Capability{api.CapForwardRemote}, on
		})))
	}
	for _, c := range []struct {
		d    Decision
		ip   string
		port uint16
		want bool
	}{
		{remote(), "127.0.0.1", 8080, true},
		{remote(), "::1", 0, true},
		{remote(), "0.0.0.0", 8080, false},
		{remote(), "::", 8080, false},
		{remote(), "192.168.1.5", 8080, false},
		{remote("*:8080"), "0.0.0.0", 8080, true},
		{remote("*:8080"), "::", 8080, true},
		{remote("*:8080"), "127.0.0.1", 8081, false},
		{remote("*:8000-9000"), "127.0.0.1", 0, false}, // the system would choose any
		{remote("192.168.1.0/24:*"), "192.168.1.5", 0, true},
		{remote("192.168.1.0/24:*"), "::ffff:192.168.1.5", 80, true},
		{remote("192.168.1.5:80"), "192.168.1.6", 80, false},
		{Decide(query(rule())), "127.0.0.1", 8080, false}, // not among the default capabilities
	} {
		if got := c.d.ListenAllowed(netip.MustParseAddr(c.ip), c.port); got != c.want {
			t.Errorf("%v: %s port %d: %v", c.d.Listen, c.ip, c.port, got)
		}
	}
}
