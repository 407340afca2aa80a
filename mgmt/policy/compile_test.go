package policy

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"lanyard/mgmt/api"
)

var (
	laptop = api.Peer{ID: "plaptop", Name: "laptop", Owner: ann}
	web    = api.Peer{ID: "pweb", Name: "web-1", Tags: []string{"tag:web"}}
	db     = api.Peer{ID: "pdb", Name: "db-1", Tags: []string{"tag:db"}, Owner: bob}
	ci     = api.Peer{ID: "pci", Name: "ci-1", Tags: []string{"tag:ci"}}
	ci2    = api.Peer{ID: "pci2", Name: "ci-2", Tags: []string{"tag:ci"}}
)

func world() *World {
	return &World{
		Peers: []api.Peer{laptop, web, db, ci, ci2},
		Users: []User{
			{ID: "u1", Ref: ann, Email: "Ann@Example.org", Groups: []api.GroupRef{hand}},
			{ID: "u2", Ref: bob, Email: "bob@example.org"},
			{ID: "u3", Ref: api.UserRef{Issuer: iss, Subject: "nomail"}},
		},
	}
}

func policy(from, to string, change ...func(*api.Policy)) api.Policy {
	p := api.Policy{ID: "x", Name: "x", From: strings.Fields(from), To: strings.Fields(to), As: []string{"deploy"}}
	for _, c := range change {
		c(&p)
	}
	return p
}

func TestCompileNamesSubjects(t *testing.T) {
	for _, c := range []struct {
		from string
		want api.Rule
	}{
		{"everyone", api.Rule{Everyone: true}},
		{"user:ann@example.ORG", api.Rule{Users: []api.UserRef{ann}}},
		{"user:u2 user:bob@example.org", api.Rule{Users: []api.UserRef{bob}}},
		{"group:ops", api.Rule{Groups: []api.GroupRef{hand}}},
		{"group:ops@" + iss, api.Rule{Groups: []api.GroupRef{idp}}},
		{"group:a@b", api.Rule{Groups: []api.GroupRef{{Issuer: api.LocalIssuer, Name: "a@b"}}}},
		{"machine:pci/runner", api.Rule{Machines: []api.MachineRef{{Peer: "pci", Account: "runner"}}}},
		{"tag:ci/runner", api.Rule{Machines: []api.MachineRef{{Peer: "pci", Account: "runner"}, {Peer: "pci2", Account: "runner"}}}},
		{"user:u1 machine:pci/runner", api.Rule{Users: []api.UserRef{ann}, Machines: []api.MachineRef{{Peer: "pci", Account: "runner"}}}},
	} {
		rules := Compile(world(), []api.Policy{policy(c.from, "all")}, web)
		if len(rules) != 1 {
			t.Errorf("%s: %d rules", c.from, len(rules))
			continue
		}
		c.want.ID, c.want.Name, c.want.As = "x", "x", []string{"deploy"}
		if !reflect.DeepEqual(rules[0], c.want) {
			t.Errorf("%s: %+v", c.from, rules[0])
		}
	}
	for _, nobody := range []string{"user:nobody@example.org", "user:", "machine:pgone/runner", "machine:web-1/runner", "tag:gone/runner", "nonsense"} {
		if rules := Compile(world(), []api.Policy{policy(nobody, "all")}, web); len(rules) != 0 {
			t.Errorf("%q: %+v", nobody, rules)
		}
	}
}

func TestCompileAimsAtPeers(t *testing.T) {
	for _, c := range []struct {
		to   string
		want []string
		own  []string // of these, as the owner's only
	}{
		{"all", []string{"plaptop", "pweb", "pdb", "pci", "pci2"}, nil},
		{"peer:pweb", []string{"pweb"}, nil},
		{"peer:web-1", nil, nil}, // stored policies hold ids: a name may move to another machine
		{"tag:ci", []string{"pci", "pci2"}, nil},
		{"own", []string{"plaptop", "pdb"}, []string{"plaptop", "pdb"}},
		{"own tag:db", []string{"plaptop", "pdb"}, []string{"plaptop"}},
	} {
		var got, own []string
		for _, p := range world().Peers {
			for _, r := range Compile(world(), []api.Policy{policy("everyone", c.to)}, p) {
				got = append(got, p.ID)
				if r.OwnerOnly {
					own = append(own, p.ID)
				}
			}
		}
		if !reflect.DeepEqual(got, c.want) || !reflect.DeepEqual(own, c.own) {
			t.Errorf("%s: %q, owner only %q", c.to, got, own)
		}
	}
	if r := Compile(world(), []api.Policy{policy("everyone", "all", func(p *api.Policy) { p.Disabled = true })}, web); len(r) != 0 {
		t.Error("a disabled policy was compiled")
	}
	if r := Compile(world(), []api.Policy{policy("machine:pci/runner", "own")}, laptop); len(r) != 0 {
		t.Error("a machine owns a machine")
	}
}

func TestConnected(t *testing.T) {
	ownDevice := func(p *api.Policy) { p.OwnDevice = true }
	for _, c := range []struct {
		name string
		p    api.Policy
		a, b api.Peer
		want bool
	}{
		{"person from any machine", policy("user:u1", "tag:web"), ci, web, true},
		{"other direction", policy("user:u1", "tag:web"), web, ci, false},
		{"itself", policy("everyone", "all"), web, web, false},
		{"own device", policy("user:u1", "tag:web", ownDevice), laptop, web, true},
		{"not the own device", policy("user:u1", "tag:web", ownDevice), db, web, false},
		{"nobody's device", policy("everyone", "tag:web", ownDevice), ci, web, false},
		{"group of the owner", policy("group:ops", "tag:web", ownDevice), laptop, web, true},
		{"owner's machine, own device", policy("everyone", "own", ownDevice), laptop, db, false},
		{"owner's machine, any device", policy("everyone", "own"), laptop, db, true},
		{"machine", policy("machine:pci/runner", "tag:web"), ci, web, true},
		{"another machine", policy("machine:pci/runner", "tag:web"), ci2, web, false},
		{"group known from tokens only", policy("group:x@"+iss, "tag:web"), ci, web, true},
		{"deny", policy("everyone", "tag:web", func(p *api.Policy) { p.Deny = true }), ci, web, false},
	} {
		if got := Connected(world(), []api.Policy{c.p}, c.a, c.b); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	w := world()
	w.Users[0].Blocked = true
	if Connected(w, []api.Policy{policy("user:u1", "tag:web")}, ci, web) {
		t.Error("a rule for a blocked person alone connects")
	}
}

func TestReachNamesAccounts(t *testing.T) {
	as := func(names ...string) func(*api.Policy) { return func(p *api.Policy) { p.As = names } }
	deny := func(p *api.Policy) { p.Deny = true }
	w := world()
	policies := []api.Policy{
		policy("user:u1", "tag:web", as("deploy", "{email.local}")),
		policy("group:ops", "tag:web tag:db", as("root", "deploy")),
		policy("everyone", "own", as("*")),
		policy("group:x@"+iss, "tag:ci"),
		policy("everyone", "tag:db", as("root"), deny),
		policy("everyone", "peer:pci2", as("*"), deny),
	}
	got := Reach(w, policies, w.Users[0], []api.GroupRef{{Issuer: iss, Name: "x"}})
	want := []api.Reach{
		{Peer: "plaptop", Name: "laptop", As: []string{"*"}},
		{Peer: "pweb", Name: "web-1", As: []string{"deploy", "ann", "root"}},
		{Peer: "pdb", Name: "db-1", As: []string{"deploy"}},
		{Peer: "pci", Name: "ci-1", As: []string{"deploy"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	blocked := w.Users[0]
	blocked.Blocked = true
	if got := Reach(w, policies, blocked, nil); len(got) != 0 {
		t.Errorf("a blocked person reaches %+v", got)
	}
}

func TestLoginAsIsTheSoleAccount(t *testing.T) {
	for _, c := range []struct {
		rules []api.Rule
		want  string
	}{
		{nil, ""},
		{[]api.Rule{rule(), rule()}, "deploy"},
		{[]api.Rule{rule(), rule(as("www"))}, ""},
		{[]api.Rule{rule(as("*"))}, ""},
		{[]api.Rule{rule(), rule(as("{email.local}"))}, ""},
		{[]api.Rule{rule(), rule(as("www"), func(r *api.Rule) { r.Deny = true })}, "deploy"},
	} {
		if got := LoginAs(c.rules); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestValidateSaysWhatIsWrong(t *testing.T) {
	set := func(f func(*api.Policy)) api.Policy { return policy("everyone", "all", f) }
	for _, ok := range []api.Policy{
		policy("everyone user:a@b group:x group:x@https://i machine:ci-1/runner tag:ci/runner", "peer:web-1 tag:web own all"),
		set(func(p *api.Policy) { p.As = []string{"*", "{email.local}", "root", `HOME\ann`, "Ann Smith"} }),
		set(func(p *api.Policy) {
			p.ForwardTo = []string{"db:5432", "*:443", "10.0.0.0/8:*", "[fd00::1]:22", "127.0.0.1:8000-8100"}
		}),
		set(func(p *api.Policy) {
			p.Can, p.Listen = []api.Capability{api.CapForwardRemote}, []string{"*:8080", "[::]:*", "10.0.0.0/8:80-90"}
		}),
		set(func(p *api.Policy) { p.Deny = true }),
		policy("machine:ci-1/runner", "all", func(p *api.Policy) { p.AnyProcess = true }),
	} {
		if err := Validate(ok); err != nil {
			t.Error(err)
		}
	}
	for want, bad := range map[string]api.Policy{
		`"localhost:80"`: set(func(p *api.Policy) {
			p.Can, p.Listen = []api.Capability{api.CapForwardRemote}, []string{"localhost:80"}
		}),
		`"forward-remote"`:    set(func(p *api.Policy) { p.Listen = []string{"*:80"} }),
		"name":                set(func(p *api.Policy) { p.Name = " " }),
		"printable":           set(func(p *api.Policy) { p.Name = "a\x1b]0;" }),
		`"from"`:              set(func(p *api.Policy) { p.From = nil }),
		`"to"`:                set(func(p *api.Policy) { p.To = nil }),
		`"as"`:                set(func(p *api.Policy) { p.As = nil }),
		`"ann"`:               set(func(p *api.Policy) { p.From = []string{"ann"} }),
		`"user:"`:             set(func(p *api.Policy) { p.From = []string{"user:"} }),
		`"machine:ci-1"`:      set(func(p *api.Policy) { p.From = []string{"machine:ci-1"} }),
		`"tag:web/"`:          set(func(p *api.Policy) { p.To = []string{"tag:web/"} }),
		`"web-1"`:             set(func(p *api.Policy) { p.To = []string{"web-1"} }),
		`"0"`:                 set(func(p *api.Policy) { p.As = []string{"0"} }),
		`"+0"`:                set(func(p *api.Policy) { p.As = []string{"+0"} }),
		`"0x0"`:               set(func(p *api.Policy) { p.As = []string{"0x0"} }),
		`"-oX"`:               set(func(p *api.Policy) { p.As = []string{"-oX"} }),
		`"a/b"`:               set(func(p *api.Policy) { p.As = []string{"a/b"} }),
		`"root "`:             set(func(p *api.Policy) { p.As = []string{"root "} }),
		`"$(id)"`:             set(func(p *api.Policy) { p.As = []string{"$(id)"} }),
		`"{email}"`:           set(func(p *api.Policy) { p.As = []string{"{email}"} }),
		`"fly"`:               set(func(p *api.Policy) { p.Can = []api.Capability{"fly"} }),
		`"db"`:                set(func(p *api.Policy) { p.ForwardTo = []string{"db"} }),
		`"db:0"`:              set(func(p *api.Policy) { p.ForwardTo = []string{"db:0"} }),
		`"db:9-8"`:            set(func(p *api.Policy) { p.ForwardTo = []string{"db:9-8"} }),
		`"db:65536"`:          set(func(p *api.Policy) { p.ForwardTo = []string{"db:65536"} }),
		`"fd00::1:22"`:        set(func(p *api.Policy) { p.ForwardTo = []string{"fd00::1:22"} }),
		`"*.x:22"`:            set(func(p *api.Policy) { p.ForwardTo = []string{"*.x:22"} }),
		"does not grant":      set(func(p *api.Policy) { p.Can, p.ForwardTo = []api.Capability{api.CapShell}, []string{"db:22"} }),
		"operations on files": set(func(p *api.Policy) { p.FileEvents = 100_001 }),
		"recorded one by one": set(func(p *api.Policy) { p.FileEvents = -1 }),
		"negative":            set(func(p *api.Policy) { p.Idle = -1 }),
		"no conditions":       set(func(p *api.Policy) { p.Deny, p.OwnDevice = true, true }),
		"any_process":         set(func(p *api.Policy) { p.AnyProcess = true }),
		"acr and amr":         set(func(p *api.Policy) { p.ACR = []string{""} }),
		"more than 1000 en":   set(func(p *api.Policy) { p.As = slices.Repeat([]string{"a"}, 1001) }),
	} {
		if err := Validate(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %s, got %v", want, err)
		}
	}
}

func TestResolveStoresIDs(t *testing.T) {
	p, err := Resolve(world(), policy("machine:ci-1/runner user:u1", "peer:web-1 peer:pdb own"))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(p.From, []string{"machine:pci/runner", "user:u1"}) || !reflect.DeepEqual(p.To, []string{"peer:pweb", "peer:pdb", "own"}) {
		t.Errorf("%q %q", p.From, p.To)
	}
	if _, err := Resolve(world(), policy("everyone", "peer:gone")); err == nil || !strings.Contains(err.Error(), `"gone"`) {
		t.Error(err)
	}
}

func TestForwardDestinations(t *testing.T) {
	overlay := []netip.Prefix{netip.MustParsePrefix("100.110.0.0/16"), netip.MustParsePrefix("fd12:3456:789a::/48")}
	for _, c := range []struct {
		to, host, ip string
		port         uint16
		want         bool
	}{
		{"", "localhost", "127.0.0.1", 80, true},
		{"", "localhost", "::1", 80, true},
		{"", "x", "127.8.9.10", 80, true},
		{"", "x", "::ffff:127.0.0.1", 80, true},
		{"", "localhost", "10.0.0.1", 80, false},
		{"", "x", "127.0.0.1", 0, false},
		{"", "x", "0.0.0.0", 80, false},
		{"", "x", "::", 80, false},
		{"", "x", "100.110.0.7", 80, false},
		{"10.0.0.5:22", "x", "10.0.0.5", 22, true},
		{"10.0.0.5:22", "x", "::ffff:10.0.0.5", 22, true},
		{"10.0.0.5:22", "x", "10.0.0.5", 23, false},
		{"10.0.0.5:22", "x", "127.0.0.1", 22, false},
		{"10.0.0.5:20-30", "x", "10.0.0.5", 30, true},
		{"10.0.0.5:20-30", "x", "10.0.0.5", 31, false},
		{"10.0.0.0/8:*", "x", "10.200.0.5", 1, true},
		{"10.0.0.0/8:*", "x", "11.0.0.5", 1, false},
		{"[fd00::/64]:22", "x", "fd00::5", 22, true},
		{"db.Internal:5432", "DB.internal.", "10.1.1.1", 5432, true},
		{"db.internal:5432", "other", "10.1.1.1", 5432, false},
		{"localhost:80", "localhost", "10.1.1.1", 80, false},
		{"*:443", "x", "93.184.216.34", 443, true},
		{"*:443", "x", "93.184.216.34", 80, false},
		// What means no machine on a network needs its exact address.
		{"*:*", "x", "169.254.169.254", 80, false},
		{"169.254.0.0/16:*", "x", "169.254.169.254", 80, false},
		{"meta:80", "meta", "169.254.169.254", 80, false},
		{"169.254.169.254:80", "x", "169.254.169.254", 80, true},
		{"*:*", "x", "::ffff:169.254.169.254", 80, false},
		{"*:*", "x", "64:ff9b::a9fe:a9fe", 80, false},
		{"*:*", "x", "2002:a9fe:a9fe::1", 80, false},
		{"*:*", "x", "fd00:ec2::254", 80, false},
		{"[fd00:ec2::254]:80", "x", "fd00:ec2::254", 80, true},
		{"*:*", "x", "100.100.100.200", 80, false},
		{"*:*", "x", "fe80::1", 80, false},
		{"*:*", "x", "fe80::1%eth0", 80, false},
		{"*:*", "x", "224.0.0.1", 80, false},
		{"*:*", "x", "ff02::1", 80, false},
		{"*:*", "x", "0.0.0.0", 80, false},
		{"*:*", "x", "0.1.2.3", 80, false},
		{"*:*", "x", "::", 80, false},
		{"*:*", "x", "255.255.255.255", 80, false},
		// The overlay needs a rule that names it.
		{"*:*", "x", "100.110.0.7", 22, false},
		{"0.0.0.0/0:*", "x", "100.110.0.7", 22, false},
		{"100.0.0.0/8:*", "x", "100.110.0.7", 22, false},
		{"100.110.0.7:22", "x", "100.110.0.7", 22, true},
		{"100.110.0.0/24:22", "x", "100.110.0.7", 22, true},
		{"web-1.lanyard.internal:22", "web-1.lanyard.internal", "100.110.0.7", 22, true},
		{"*:*", "x", "fd12:3456:789a::7", 22, false},
		{"nonsense", "nonsense", "10.0.0.1", 22, false},
	} {
		d := Decide(query(rule(func(r *api.Rule) { r.ForwardTo = strings.Fields(c.to) })))
		d.Overlay = overlay
		ip := netip.MustParseAddr(c.ip)
		addr, got := d.ForwardAddr(c.host, ip, c.port)
		if got != c.want || got != d.ForwardAllowed(c.host, ip, c.port) {
			t.Errorf("%q to %s (%s) port %d: %v", c.to, c.host, c.ip, c.port, got)
		}
		if got && (addr.Addr() != ip.Unmap() || addr.Port() != c.port) {
			t.Errorf("%q: checked %s, returned %s", c.to, c.ip, addr)
		}
	}
	if Decide(query(rule(func(r *api.Rule) { r.Can = []api.Capability{api.CapShell} }))).ForwardAllowed("x", netip.MustParseAddr("127.0.0.1"), 80) {
		t.Error("a rule without forward-local forwards")
	}
	if (Decision{}).ForwardAllowed("x", netip.MustParseAddr("127.0.0.1"), 80) {
		t.Error("no decision forwards")
	}
	if Decide(query(rule())).ForwardAllowed("x", netip.Addr{}, 80) {
		t.Error("an unresolved name forwards")
	}
}

func TestMachineAccountsAreThoseThatMachinesCanUse(t *testing.T) {
	at := func(peer, account string) api.MachineRef { return api.MachineRef{Peer: peer, Account: account} }
	rules := []api.Rule{
		{Machines: []api.MachineRef{at("p1", "ci"), at("p2", "elsewhere")}},
		{Machines: []api.MachineRef{at("p1", "ansible"), at("p1", "ci")}},
		{Machines: []api.MachineRef{at("p1", "denied")}, Deny: true},
		{Machines: []api.MachineRef{at("p1", "own")}, Conditions: api.Conditions{OwnDevice: true}},
		{Machines: []api.MachineRef{at("p1", "strong")}, Conditions: api.Conditions{AMR: []string{"mfa"}}},
		{Everyone: true},
	}
	if got := MachineAccounts(rules, "p1"); !slices.Equal(got, []string{"ansible", "ci"}) {
		t.Errorf("%q", got)
	}
}
