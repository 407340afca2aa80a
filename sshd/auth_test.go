//go:build linux

package sshd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/reason"
	"lanyard/mgmt/policy"
	"lanyard/platform/accounts"
)

func TestRefusalShowsItsReasonAndIsRecordedOnce(t *testing.T) {
	for _, c := range []struct {
		name   string
		code   reason.Code
		change func(*State)
		age    time.Duration
		user   string
	}{
		{name: "a token that is too old", code: reason.TokenExpired, age: 2 * time.Hour},
		{name: "a login that has ended", code: reason.LoginExpired, age: 25 * time.Hour},
		{name: "nobody's rule", code: reason.NoRule, change: func(s *State) { s.Map.Rules = nil }},
		{name: "another account's rule", code: reason.LocalUser, change: func(s *State) { s.Map.Rules[0].As = []string{"somebody"} }},
		{name: "a blocked person", code: reason.Blocked, change: func(s *State) { s.Map.Users = []api.MapUser{{UserRef: person("ann"), Blocked: true}} }},
		{name: "an unknown issuer", code: reason.Issuer, change: func(s *State) { s.Map.Issuers[0].URL = "https://other.example" }},
		{name: "another audience", code: reason.Audience, change: func(s *State) { s.Map.Issuers[0].ClientID = "other" }},
		{name: "SSH switched off", code: reason.Disabled, change: func(s *State) { s.Enabled = false }},
		{name: "a map that is too old", code: reason.MapStale, change: func(s *State) { s.Map.IssuedAt = time.Now().Add(-25 * time.Hour) }},
		{name: "limits that do not offer the account", code: reason.Limits, change: func(s *State) { s.Limits = &policy.Limits{Accounts: []string{"somebody"}} }},
		{name: "limits that cannot be read", code: reason.Limits, change: func(s *State) { s.Limits = &policy.Limits{Broken: true} }},
		{name: "an account that does not exist", code: reason.NoAccount, change: anyAccount, user: "no-such-account"},
		{name: "root by number", code: reason.NoAccount, change: anyAccount, user: "0"},
		{name: "root by signed number", code: reason.NoAccount, change: anyAccount, user: "+0"},
		{name: "an account that may not log in", code: reason.NoAccount, change: anyAccount, user: "nobody"},
		{name: "root, which the rule does not name", code: reason.Privileged, change: anyAccount, user: "root"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.code == reason.Privileged && os.Geteuid() != 0 {
				c.code = reason.NoAccount // a service that is not root's serves no other account
			}
			l := newLab(t)
			l.setMap(c.change)
			ann := l.login("ann", c.age)
			args := []string{"web-1", "echo in"}
			if c.user != "" {
				args = append([]string{"-l", c.user}, args...)
			}
			got := l.ssh(ann, args...)
			if got.exit != 255 || got.stdout != "" {
				t.Errorf("not refused: %+v", got)
			}
			if n := strings.Count(got.stderr, "Lanyard: "); n != 1 || !strings.Contains(got.stderr, c.code.Line()+"\n") {
				t.Errorf("%d lines for the person: %q", n, got.stderr)
			}
			eventually(t, "event", func() bool { return len(l.recorded(audit.Refused)) > 0 })
			l.srv.Close()
			if r := l.recorded(audit.Refused); len(r) != 1 || r[0].Reason != c.code || r[0].Source != "pclient" {
				t.Errorf("%+v", r)
			}
			if r := l.recorded(audit.SessionStart, audit.SessionEnd); len(r) != 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}

func anyAccount(s *State) { s.Map.Rules[0].As = []string{"*"} }

// Whoever may not use a name is not told whether there is such an account, nor what is the matter with it, and nobody
// looks for it, which would take its time.
func TestAccountsOutsideTheRuleLookAlike(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	kinds := map[string]accounts.Account{
		"person":  {},
		"service": {System: true},
		"admin":   {Privileged: true, Uid: 0, UID: "0"},
		"locked":  {Locked: true},
		"noshell": {NoLogin: true},
		"closed":  {Closed: true, Notice: "The disks are being changed."},
	}
	l := newLabWith(t, func(cfg *Config) {
		cfg.Limits.Refusals = -1
		cfg.Accounts = func(name string) (accounts.Account, error) {
			mu.Lock()
			asked = append(asked, name)
			mu.Unlock()
			if name == "broken" {
				return accounts.Account{}, errors.New("the directory does not answer")
			}
			a, ok := kinds[name]
			if !ok {
				return a, accounts.ErrNotFound
			}
			a.Name = name
			return a, nil
		}
	})
	for _, c := range []struct {
		name   string
		change func(*State)
		code   reason.Code
	}{
		{"no rule", func(s *State) { s.Map.Rules = nil }, reason.NoRule},
		{"a rule for another account", func(s *State) { s.Map.Rules[0].As = []string{"other"} }, reason.LocalUser},
		{"limits", func(s *State) { anyAccount(s); s.Limits = &policy.Limits{Accounts: []string{"other"}} }, reason.Limits},
		{"another's {email.local}", func(s *State) { s.Map.Rules[0].As = []string{"{email.local}"} }, reason.LocalUser},
		{"a rule that denies all", func(s *State) {
			s.Map.Rules[0].As = []string{"*"}
			deny := s.Map.Rules[0]
			deny.ID, deny.Deny = "rule2", true
			s.Map.Rules = append(s.Map.Rules, deny)
		}, reason.NoRule},
	} {
		t.Run(c.name, func(t *testing.T) {
			l.setMap(c.change)
			ann := l.login("ann", 0)
			for _, name := range append(slices.Sorted(maps.Keys(kinds)), "missing", "broken", "0", "root") {
				before := len(l.recorded(audit.Refused))
				got := l.ssh(ann, "-l", name, "web-1", "true")
				// ssh's own last line names the account and what it tried.
				said, _, _ := strings.Cut(got.stderr, name+"@")
				if got.exit != 255 || said != c.code.Line()+"\n" {
					t.Errorf("as %s: %q, want %q: %+v", name, said, c.code.Line(), got)
				}
				eventually(t, "event", func() bool { return len(l.recorded(audit.Refused)) > before })
				e := l.recorded(audit.Refused)[before]
				if e.Reason != c.code || e.Detail != fmt.Sprintf("account %q", name) {
					t.Errorf("as %s: %+v", name, e)
				}
			}
		})
	}
	mu.Lock()
	defer mu.Unlock()
	if len(asked) != 0 {
		t.Errorf("looked for %q", asked)
	}
}

// A rule names root's account by its name, and what else has root's number stays closed, whatever it is called.
func TestOtherNamesOfRootNeedToBeNamed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: an ordinary server has its own account only")
	}
	l := newLabWith(t, func(cfg *Config) {
		cfg.Accounts = func(name string) (accounts.Account, error) {
			return accounts.Account{Name: name, UID: "0", Privileged: true, Groups: []uint32{0}, Home: "/", Shell: "/bin/sh"}, nil
		}
	})
	for _, c := range []struct {
		as   []string
		deny string
		name string
		want reason.Code
	}{
		{[]string{"*"}, "", "toor", reason.Privileged},
		{[]string{"root"}, "", "toor", reason.LocalUser},
		{[]string{"toor"}, "", "toor", reason.OK},
		{[]string{"toor"}, "root", "toor", reason.LocalUser},
		{[]string{"root"}, "", "root", reason.OK},
	} {
		l.setMap(func(s *State) {
			s.Map.Rules[0].As = c.as
			if c.deny != "" {
				deny := s.Map.Rules[0]
				deny.ID, deny.Deny, deny.As = "rule2", true, []string{c.deny}
				s.Map.Rules = append(s.Map.Rules, deny)
			}
		})
		got := l.ssh(l.login("ann", 0), "-l", c.name, "web-1", "true")
		if c.want == reason.OK && got.exit != 0 || c.want != reason.OK && !strings.Contains(got.stderr, c.want.Line()) {
			t.Errorf("rule for %q, deny %q, as %s: want %s: %+v", c.as, c.deny, c.name, c.want, got)
		}
	}
}

// A token by a key that the map does not have yet makes the server ask for it, and is refused until it is there.
func TestUnknownKeyIsAskedFor(t *testing.T) {
	l := newLab(t)
	ann := l.login("ann", 0)
	l.setMap(func(s *State) {
		s.Map.Issuers[0].Keys = []json.RawMessage{json.RawMessage(strings.Replace(string(l.jwk()), `"k1"`, `"k0"`, 1))}
	})
	if got := l.ssh(ann, "web-1", "echo in"); got.exit != 255 || !strings.Contains(got.stderr, "[signature]") {
		t.Errorf("%+v", got)
	}
	l.mu.Lock()
	asked := slices.Compact(slices.Clone(l.asked))
	l.mu.Unlock()
	if !slices.Equal(asked, []string{issuerURL + " k1"}) {
		t.Errorf("asked for %q", asked)
	}
	l.setMap(nil)
	if got := l.ssh(ann, "web-1", "echo in"); got.exit != 0 {
		t.Errorf("%+v", got)
	}
}

func TestPlainKeyIsToldToSignIn(t *testing.T) {
	l := newLab(t)
	l.login("ann", 0)
	id := filepath.Join(l.dir, "id-ann")
	if err := os.Remove(id + "-cert.pub"); err != nil {
		t.Fatal(err)
	}
	got := l.ssh(l.config("plain", id, ""), "web-1", "true")
	if got.exit != 255 || !strings.Contains(got.stderr, reason.TokenMissing.Line()) {
		t.Errorf("%+v", got)
	}
}

func TestFullAuditRefusesNewSessions(t *testing.T) {
	l := newLab(t)
	ann := l.login("ann", 0)
	l.mu.Lock()
	l.full = reason.Errorf(reason.AuditFull, "no room")
	l.mu.Unlock()
	got := l.ssh(ann, "web-1", "echo in")
	if got.exit != 255 || got.stdout != "" || !strings.Contains(got.stderr, "[audit-full]") {
		t.Errorf("%+v", got)
	}
}

// A session that was open before starts nothing that cannot be recorded.
func TestFullAuditStartsNothingInOpenSessions(t *testing.T) {
	l := newLab(t)
	c := l.dial("ann")
	defer c.Close()
	l.mu.Lock()
	l.full = reason.Errorf(reason.AuditFull, "no room")
	l.mu.Unlock()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	s.Stdout, s.Stderr = &out, &errs
	file := filepath.Join(t.TempDir(), "ran")
	if err := s.Run("touch " + file + "; echo in"); err == nil || out.Len() > 0 || !strings.Contains(errs.String(), "[audit-full]") {
		t.Errorf("%v: out %q, err %q", err, out.String(), errs.String())
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the command ran")
	}
	// A forward that cannot be recorded ends the session.
	gone := make(chan error, 1)
	go func() { gone <- c.Wait() }()
	if conn, err := c.Dial("tcp", l.addr.String()); err == nil {
		defer conn.Close()
	}
	select {
	case <-gone:
	case <-time.After(waitTime):
		t.Error("a session goes on with a forward that was not recorded")
	}
}

func TestConnectionsFromElsewhereAreClosed(t *testing.T) {
	l := newLab(t)
	l.direct.Store(true)
	c, err := net.Dial("tcp", l.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(waitTime))
	if b, err := io.ReadAll(c); len(b) != 0 || err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("read %q, %v", b, err)
	}
}

func TestStrangersCannotHoldManyConnections(t *testing.T) {
	l := newLab(t)
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	greeted := func(c net.Conn) bool {
		c.SetReadDeadline(time.Now().Add(waitTime))
		b := make([]byte, 4)
		n, _ := io.ReadFull(c, b)
		return n == 4
	}
	for range l.srv.cfg.Limits.PendingPerSource {
		c, err := net.Dial("tcp", l.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
		if !greeted(c) {
			t.Fatalf("connection %d was closed", len(open))
		}
	}
	c, err := net.Dial("tcp", l.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if greeted(c) {
		t.Error("one more was served")
	}
	open[0].Close()
	eventually(t, "room", func() bool {
		c, err := net.Dial("tcp", l.addr.String())
		if err != nil {
			return false
		}
		defer c.Close()
		return greeted(c)
	})
}

// The identity is that of the key that signed, not that of a key that was offered before (CVE-2024-45337).
func TestIdentityIsThatOfTheKeyThatSigned(t *testing.T) {
	l := newLab(t)
	l.setMap(func(s *State) { s.Map.Users = []api.MapUser{{UserRef: person("bob"), Blocked: true}} })
	ann, bob := l.certified("ann"), l.certified("bob")
	_, err := ssh.Dial("tcp", l.addr.String(), &ssh.ClientConfig{
		User: l.account.Name, HostKeyCallback: ssh.FixedHostKey(l.host.PublicKey()),
		Auth: []ssh.AuthMethod{ssh.PublicKeys(mixed{ann, bob}, bob)},
	})
	if err == nil {
		t.Fatal("bob came in on ann's certificate")
	}
	for _, e := range l.recorded(audit.SessionStart) {
		t.Errorf("%+v", e)
	}
}

// mixed offers one certificate and signs with another's key.
type mixed struct{ offered, signs ssh.Signer }

func (m mixed) PublicKey() ssh.PublicKey { return m.offered.PublicKey() }
func (m mixed) Sign(r io.Reader, b []byte) (*ssh.Signature, error) {
	return m.signs.Sign(r, b)
}

func TestMachineOfARuleWithAnyProcessNeedsNoKey(t *testing.T) {
	l := newLab(t)
	l.setMap(func(s *State) {
		r := &s.Map.Rules[0]
		r.Users, r.Machines, r.AnyProcess = nil, []api.MachineRef{{Peer: "pclient", Account: "ci"}}, true
	})
	none := l.config("none", "/dev/null", "PubkeyAuthentication no")
	if got := l.ssh(none, "web-1", "echo in"); got.stdout != "in\n" || got.exit != 0 {
		t.Errorf("%+v", got)
	}
	if os.Geteuid() == 0 {
		if got := l.ssh(none, "-l", "root", "web-1", "echo in"); got.exit != 255 || got.stdout != "" {
			t.Errorf("root without a key: %+v", got)
		}
	}
}
