package menu

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"lanyard/service/ipc"
)

var now = time.Date(2026, 3, 2, 10, 0, 0, 0, time.Local)

// connected is the status of a laptop that sees two machines.
func connected() *ipc.Status {
	return &ipc.Status{
		Release: "1.2", State: ipc.StateConnected, Server: "https://mgmt.example:8443#sha256=abc",
		Self: &ipc.Peer{ID: "pself", Name: "laptop", Addr4: netip.MustParseAddr("100.110.0.9")},
		Peers: []ipc.Peer{
			{ID: "pdb", Name: "db-1", ServesSSH: true},
			{ID: "pweb", Name: "web-1", ShortName: true, ServesSSH: true, Handshake: now.Add(-time.Minute)},
			{ID: "pold", Name: "old", ServesSSH: false},
		},
		Caller: ipc.Caller{Account: "ann", Class: ipc.ClassStatus},
	}
}

func with(f func(*ipc.Status)) *ipc.Status {
	s := connected()
	f(s)
	return s
}

var ann = SignIn{Who: "ann@example.com", Ends: now.Add(7 * time.Hour)}

// flat lists the visible rows of a menu, submenus indented.
func flat(rows []Row, indent string) (out []string) {
	for _, r := range rows {
		if r.Separator || r.Hidden {
			continue
		}
		out = append(out, indent+r.Title)
		out = append(out, flat(r.Rows, indent+"  ")...)
	}
	return out
}

func find(rows []Row, title string) *Row {
	for _, r := range rows {
		if !r.Hidden && r.Title == title {
			return &r
		}
		if x := find(r.Rows, title); x != nil && !r.Hidden {
			return x
		}
	}
	return nil
}

func TestEveryStateHasItsIconAndItsRows(t *testing.T) {
	for _, c := range []struct {
		name   string
		state  State
		icon   Icon
		shows  []string // rows
		hides  []string // rows, by their beginning
		action map[string]Action
	}{
		{
			name: "nothing heard yet", state: State{}, icon: Connecting,
			shows: []string{"Looking for the Lanyard service", "Quit"}, hides: []string{"Log in", "Machines", "Connect", "Disconnect", "Copy the command"},
		},
		{
			name: "no service", state: State{Absent: "Start the service, or ask your administrator to.", Start: "sudo lanyard service install"}, icon: Error,
			shows:  []string{"The Lanyard service is not running", "Start the service, or ask your administrator to.", "Copy the command: sudo lanyard service install", "Diagnose: copy a report", "Quit"},
			hides:  []string{"Log in", "Machines", "Connect"},
			action: map[string]Action{"Copy the command: sudo lanyard service install": {Copy, "sudo lanyard service install"}},
		},
		{
			name: "not part of a network", state: State{Status: &ipc.Status{State: ipc.StateNew}, Joining: "sudo lanyard up URL"}, icon: SignedOut,
			shows: []string{"This computer is not part of a network", "Copy the command: sudo lanyard up URL"}, hides: []string{"Log in", "Connect", "Disconnect", "Open dashboard", "Machines"},
		},
		{
			name: "removed", state: State{Status: &ipc.Status{State: ipc.StateRemoved, Problems: []string{"The administrator removed it."}}}, icon: Error,
			shows: []string{"This computer was removed from the network", "The administrator removed it."}, hides: []string{"Log in", "Connect"},
		},
		{
			name: "switched off", state: State{Status: &ipc.Status{State: ipc.StateDown}, SignIn: ann}, icon: SignedOut,
			shows: []string{"Disconnected", "Connect", "Signed in as ann@example.com, 7 h left"}, hides: []string{"Machines"},
			action: map[string]Action{"Connect": {Verb: Connect}},
		},
		{
			name: "connecting", state: State{Status: &ipc.Status{State: ipc.StateConnecting}}, icon: Connecting,
			shows: []string{"Connecting", "Disconnect"}, hides: []string{"Log in", "Machines"},
		},
		{
			name: "cannot connect", state: State{Status: &ipc.Status{State: ipc.StateConnecting, Problems: []string{"No route."}}}, icon: Error,
			shows: []string{"Not connected", "No route.", "Disconnect"},
		},
		{
			name: "signed out", state: State{Status: connected()}, icon: SignedOut,
			shows: []string{"Connected as laptop, signed out", "Nobody is signed in", "Log in", "Machines", "Disconnect", "Open dashboard"},
			hides: []string{"Log out", "Renew", "Cancel"}, action: map[string]Action{"Log in": {Verb: LogIn}},
		},
		{
			name: "asking", state: State{Status: connected(), SignIn: SignIn{Asking: true, Code: "ABCD-EFGH", URL: "https://x/y"}}, icon: Connecting,
			shows:  []string{"Waiting for your sign-in in the browser", "Cancel the sign-in (the page must show ABCD-EFGH)", "Copy the sign-in page's address"},
			hides:  []string{"Log in", "Log out"},
			action: map[string]Action{"Copy the sign-in page's address": {Copy, "https://x/y"}, "Cancel the sign-in (the page must show ABCD-EFGH)": {Verb: CancelLogin}},
		},
		{
			name: "signed in", state: State{Status: connected(), SignIn: ann}, icon: Connected,
			shows: []string{"Connected as laptop", "Signed in as ann@example.com, 7 h left", "Log out", "  web-1  (online)", "  db-1.lanyard.internal", "  ssh web-1", "  Managed by https://mgmt.example:8443"},
			hides: []string{"Log in", "Renew", "Copy the command", "On this computer", "  old"},
			action: map[string]Action{
				"Log out": {Verb: LogOut}, "web-1  (online)": {OpenTerminal, "web-1"}, "db-1.lanyard.internal": {OpenTerminal, "db-1.lanyard.internal"},
				"ssh web-1": {Copy, "ssh web-1"}, "Disconnect": {Verb: Disconnect}, "Open dashboard": {Verb: Dashboard},
			},
		},
		{
			name: "ends soon", state: State{Status: connected(), SignIn: SignIn{Who: "ann", Ends: now.Add(24*time.Minute + 30*time.Second)}}, icon: Attention,
			shows: []string{"Connected as laptop, and your sign-in ends soon", "Signed in as ann, 25 min left", "Renew the sign-in"},
		},
		{
			name: "has ended", state: State{Status: connected(), SignIn: SignIn{Who: "ann", Ends: now.Add(-time.Minute)}}, icon: SignedOut,
			shows: []string{"The sign-in of ann has ended", "Log in"}, hides: []string{"Log out"},
		},
		{
			name: "sign-in in trouble", state: State{Status: connected(), SignIn: SignIn{Who: "ann", Ends: now.Add(7 * time.Hour), Trouble: "The keychain is locked."}}, icon: Attention,
			shows: []string{"Connected as laptop, and your sign-in needs you", "The keychain is locked.", "Renew the sign-in", "Log out"},
		},
		{
			name: "login failed", state: State{Status: connected(), SignIn: SignIn{Trouble: "Nobody signed in within 5 minutes."}}, icon: Attention,
			shows: []string{"Nobody signed in within 5 minutes.", "Log in"},
		},
		{
			name: "offline", state: State{Status: with(func(s *ipc.Status) { s.State = ipc.StateOffline }), SignIn: ann}, icon: Attention,
			shows: []string{"Connected as laptop, without the management server", "Machines"},
		},
		{
			name: "a problem", state: State{Status: with(func(s *ipc.Status) { s.Problems = []string{"The audit log is full."} }), SignIn: ann}, icon: Attention,
			shows: []string{"Connected as laptop, with a problem", "The audit log is full."},
		},
		{
			name: "no machine", state: State{Status: with(func(s *ipc.Status) { s.Peers = nil }), SignIn: ann}, icon: Connected,
			shows: []string{"Machines", "  No policy gives you a machine yet"}, hides: []string{"Copy ssh command"},
		},
		{
			name: "visitors", state: State{Status: with(func(s *ipc.Status) {
				s.SSH = ipc.SSH{Allowed: true, Serving: true, Admits: []string{"the group ops as root"}}
				s.Caller.Class = ipc.ClassChange
				s.Sessions = []ipc.Session{{ID: "s1", User: "bob@example.com", LocalUser: "root", Source: "desk", Since: now.Add(-time.Hour)}}
			}), SignIn: ann}, icon: Connected,
			shows: []string{
				"On this computer (1)", "  bob@example.com as root, from desk since 09:00", "      End the session of bob@example.com",
				"SSH to this computer: allowed", "  Lets in: the group ops as root", "  Stop allowing it",
			},
			action: map[string]Action{"    End the session of bob@example.com": {EndSession, "s1"}, "Stop allowing it": {Verb: ForbidSSH}},
		},
		{
			name: "closed", state: State{Status: with(func(s *ipc.Status) { s.SSH.Admits = []string{"ann@example.com as ann"} }), SignIn: ann}, icon: Connected,
			shows:  []string{"SSH to this computer: off", "  Would let in: ann@example.com as ann", "  Allow SSH to this computer (asks for administrator rights)"},
			action: map[string]Action{"Allow SSH to this computer (asks for administrator rights)": {Verb: AllowSSH}},
		},
		{
			name: "two networks", state: State{Status: connected(), Profile: "prod", Profiles: []string{"default", "prod"}, Settings: Settings{Start: true}}, icon: SignedOut,
			shows:  []string{"  Network: default", "  Network: prod", "  Start when I log in to the desktop"},
			action: map[string]Action{"Network: default": {SetProfile, "default"}},
		},
		{
			name: "busy", state: State{Status: connected(), SignIn: ann, Busy: "Signing out"}, icon: Connected, shows: []string{"Signing out"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.state.Now = now
			m := Build(c.state)
			if m.Icon != c.icon {
				t.Errorf("icon %s, want %s", m.Icon, c.icon)
			}
			got := flat(m.Rows, "")
			for _, s := range c.shows {
				if !slices.Contains(got, s) {
					t.Errorf("no row %q in:\n%s", s, strings.Join(got, "\n"))
				}
			}
			for _, h := range c.hides {
				if i := slices.IndexFunc(got, func(s string) bool { return strings.HasPrefix(s, h) }); i >= 0 {
					t.Errorf("row %q is there", got[i])
				}
			}
			for title, want := range c.action {
				r := find(m.Rows, title)
				if r == nil {
					t.Errorf("no row %q", title)
				} else if r.Action != want || r.Disabled {
					t.Errorf("row %q: %+v, disabled %v; want %+v", title, r.Action, r.Disabled, want)
				}
			}
			if len(m.Rows) != len(Build(State{}).Rows) {
				t.Error("the top level has another number of rows: rows would change places")
			}
		})
	}
}

// Rows must keep their kind: who draws them reuses what is there.
func TestRowsOfTheTopLevelKeepTheirKind(t *testing.T) {
	base := Build(State{Now: now})
	for _, s := range []State{
		{Status: connected()}, {Status: connected(), SignIn: ann}, {Absent: "x"}, {Status: &ipc.Status{State: ipc.StateDown}},
	} {
		s.Now = now
		for i, r := range Build(s).Rows {
			if b := base.Rows[i]; r.Separator != b.Separator || r.Submenu != b.Submenu || r.Checkbox != b.Checkbox {
				t.Errorf("row %d changes its kind: %q and %q", i, b.Title, r.Title)
			}
			if r.Submenu && len(r.Rows) == 0 && !r.Hidden {
				t.Errorf("submenu %q is empty", r.Title)
			}
		}
	}
}

func TestForeignTextPlaysNoTricks(t *testing.T) {
	nasty := "ann\u202e\x1b[31m\n" + strings.Repeat("x", 500)
	st := with(func(s *ipc.Status) {
		s.Self.Name, s.Release, s.SSH = nasty, nasty, ipc.SSH{Allowed: true, Admits: []string{nasty}}
		s.Sessions = []ipc.Session{{User: nasty, LocalUser: "a", Source: nasty}}
	})
	for _, r := range flat(Build(State{Now: now, Status: st, SignIn: SignIn{Who: nasty, Ends: now.Add(time.Hour)}, Release: nasty}).Rows, "") {
		if strings.ContainsAny(r, "\x1b\n\u202e") {
			t.Errorf("%q", r)
		}
		if n := len([]rune(r)); n > 3*maxTitle {
			t.Errorf("%d characters: %.40q…", n, r)
		}
	}
}

func TestManyMachinesFitAScreen(t *testing.T) {
	st := with(func(s *ipc.Status) {
		s.Peers = nil
		for i := range 200 {
			s.Peers = append(s.Peers, ipc.Peer{ID: fmt.Sprint(i), Name: fmt.Sprintf("m-%03d", i), ServesSSH: true})
		}
		s.Peers[150].Handshake = now
	})
	rows := machines(State{Now: now, Status: st}, OpenTerminal)
	if len(rows) != maxMachines+1 || !strings.Contains(rows[maxMachines].Title, "170 more") {
		t.Errorf("%d rows, the last is %q", len(rows), rows[len(rows)-1].Title)
	}
	if !strings.HasPrefix(rows[0].Title, "m-150") {
		t.Errorf("the one that answers is not first: %q", rows[0].Title)
	}
}

// The lines cannot be hidden: in no state may two of them meet, or one stand at an end.
func TestNoTwoLinesMeet(t *testing.T) {
	states := []State{{}, {Absent: "Start it.", Start: "x"}}
	for _, st := range []ipc.State{ipc.StateNew, ipc.StateDown, ipc.StateConnecting, ipc.StateRemoved} {
		states = append(states, State{Status: &ipc.Status{State: st}}, State{Status: &ipc.Status{State: st}, SignIn: ann})
	}
	states = append(states, State{Status: connected()}, State{Status: connected(), SignIn: ann}, State{Status: connected(), SignIn: SignIn{Asking: true}})
	for i, s := range states {
		s.Now = now
		line := true
		for _, r := range Build(s).Rows {
			if r.Hidden {
				continue
			}
			if r.Separator && line {
				t.Errorf("state %d: a line with nothing above it:\n%q", i, flat(Build(s).Rows, ""))
			}
			line = r.Separator
		}
		if line {
			t.Errorf("state %d: a line at the end", i)
		}
	}
}

func TestSeveralProvidersAreOfferedByName(t *testing.T) {
	several := with(func(s *ipc.Status) {
		s.Issuers = []ipc.Issuer{
			{URL: "https://mgmt.example:8443/oidc", Name: "Lanyard"},
			{URL: "https://work.okta.com", Name: "Okta"},
			{URL: "https://lab.okta.com", Name: "Okta"},
			{URL: "https://x.example/realms/a"},
		}
	})
	rows := Build(State{Now: now, Status: several}).Rows
	if find(rows, "Log in") != nil {
		t.Error("the plain row is still there")
	}
	with := find(rows, "Log in with")
	if with == nil {
		t.Fatalf("%q", flat(rows, ""))
	}
	var got []string
	for _, r := range with.Rows {
		got = append(got, fmt.Sprint(r.Title, " ", r.Action))
	}
	if want := []string{
		"Lanyard {log-in https://mgmt.example:8443/oidc}", "work.okta.com {log-in https://work.okta.com}", "lab.okta.com {log-in https://lab.okta.com}",
		"x.example/realms/a {log-in https://x.example/realms/a}",
	}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	// Who is signed in renews with the provider that they have; one provider is nothing to choose.
	for name, s := range map[string]State{
		"signed in": {Now: now, Status: several, SignIn: ann}, "asking": {Now: now, Status: several, SignIn: SignIn{Asking: true}}, "one": {Now: now, Status: connected()},
	} {
		if find(Build(s).Rows, "Log in with") != nil {
			t.Errorf("%s: there is a choice", name)
		}
	}
	if find(Build(State{Now: now, Status: connected()}).Rows, "Log in") == nil {
		t.Error("with one provider there is nothing to click")
	}
}

// What stands beside a machine's name is never a guess: what the management server says, and without its word, of one that
// nothing was sent to for a while, when it was heard.
func TestMachinesSayWhetherTheyAreThere(t *testing.T) {
	yes, no := new(true), new(false)
	at := now.Add(-4 * time.Minute).Local().Format("15:04")
	for _, c := range []struct {
		online *bool
		heard  time.Time
		says   string
	}{
		{nil, now.Add(-2 * time.Minute), "web-1  (online)"},
		{nil, now.Add(-4 * time.Minute), "web-1  (last heard " + at + ")"},
		{nil, now.Add(-49 * time.Hour), "web-1  (last heard " + now.Add(-49*time.Hour).Local().Format("2 Jan 15:04") + ")"},
		{nil, time.Time{}, "web-1"},
		{yes, time.Time{}, "web-1  (online)"},
		{yes, now.Add(-49 * time.Hour), "web-1  (online)"},
		{no, time.Time{}, "web-1  (offline)"},
		{no, now.Add(-4 * time.Minute), "web-1  (offline, last heard " + at + ")"},
		{no, now, "web-1  (offline, last heard " + now.Local().Format("15:04") + ")"},
	} {
		s := &ipc.Status{State: ipc.StateConnected, Self: &ipc.Peer{}, Peers: []ipc.Peer{{Name: "web-1", ShortName: true, ServesSSH: true, Handshake: c.heard, Online: c.online}}}
		if got := machines(State{Now: now, Status: s}, OpenTerminal)[0].Title; got != c.says {
			t.Errorf("heard %s: %q, want %q", c.heard, got, c.says)
		}
	}
}

func TestMachinesThatAreThereStandFirst(t *testing.T) {
	st := with(func(s *ipc.Status) {
		s.Peers = nil
		for _, name := range []string{"a-off", "b-unknown", "c-on"} {
			s.Peers = append(s.Peers, ipc.Peer{ID: name, Name: name, ShortName: true, ServesSSH: true})
		}
		s.Peers[0].Online, s.Peers[0].Handshake, s.Peers[2].Online = new(false), now, new(true)
	})
	var got []string
	for _, r := range machines(State{Now: now, Status: st}, OpenTerminal) {
		got = append(got, r.Action.Arg)
	}
	if !slices.Equal(got, []string{"c-on", "a-off", "b-unknown"}) {
		t.Errorf("%q", got)
	}
}

func TestWhatDidNotWorkIsShownWhole(t *testing.T) {
	why := strings.TrimSpace(strings.Repeat("The management server was not told. ", 9))
	for _, st := range []ipc.State{ipc.StateConnected, ipc.StateOffline} {
		m := Build(State{Now: now, Status: &ipc.Status{State: st, Self: &ipc.Peer{Name: "laptop"}}, SignIn: ann, Reply: why, Failed: true})
		if m.Icon != Attention || m.Rows[0].Title != "Connected as laptop, and something did not work" {
			t.Errorf("%s: %s, %q", st, m.Icon, m.Rows[0].Title)
		}
		var said []string
		for _, r := range m.Rows[1 : 1+problemLines] {
			if r.Hidden || !r.Disabled || len(r.Title) > maxTitle {
				t.Errorf("%+v", r)
			}
			said = append(said, r.Title)
		}
		if got := strings.Join(said, " "); got != why {
			t.Errorf("said %q", got)
		}
	}
	rows := problemRows(State{Status: &ipc.Status{Problems: []string{strings.Repeat("x", 1000)}}})
	if len(rows) != problemLines || !strings.HasSuffix(rows[2].Title, "…") {
		t.Errorf("%+v", rows)
	}
	if rows := problemRows(State{Status: &ipc.Status{}}); len(rows) != problemLines || !rows[0].Hidden || !rows[2].Hidden {
		t.Errorf("%+v", rows)
	}
}
