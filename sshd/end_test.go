//go:build linux

package sshd

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/reason"
	"lanyard/mgmt/policy"
	"lanyard/sshd/token"
)

func block(sub string) func(*State) {
	return func(s *State) { s.Map.Users = []api.MapUser{{UserRef: person(sub), Blocked: true}} }
}

// tree starts what is hard to find: a child that left the session and the process group, and its child.
const tree = `setsid sh -c 'sleep 300 & echo $! $$; wait' & sleep 301 & echo "$! $$"; wait`

func TestRevokedUserLosesLiveSessions(t *testing.T) {
	inTime(t, func() time.Duration {
		l := newLabWith(t, asInService)
		ann, bob := l.login("ann", 0), l.login("bob", 0)
		const many = 20
		var annS []*started
		var pids []string
		begin := func(config string) *started {
			c := l.start(l.tool("ssh", config, "web-1", tree))
			eventually(t, "processes", func() bool { return strings.Count(c.stdout(), "\n") == 2 })
			return c
		}
		for range many {
			c := begin(ann)
			annS = append(annS, c)
			pids = append(pids, strings.Fields(c.stdout())...)
		}
		other := begin(bob)
		idle := l.start(l.tool("ssh", ann, "-N", "web-1"))
		eventually(t, "sessions", func() bool { return len(l.srv.Sessions()) == many+2 })

		at := time.Now()
		l.setMap(block("ann"))
		ids := l.srv.Changed()
		changed := time.Since(at)
		if len(ids) != many+1 {
			t.Errorf("%d sessions ended", len(ids))
		}
		var last time.Duration
		for _, c := range annS {
			last = max(last, ended(t, c.wait(), c.stderr(), reason.Blocked.Line(), at))
		}
		if exit := idle.wait(); exit != 255 {
			t.Errorf("ssh -N: exit %d", exit)
		}
		// Without a cgroup the tree is looked for in /proc; it may outlive its ssh, but not the second that all has.
		for _, p := range pids {
			for alive(p) {
				if time.Since(at) > waitTime {
					t.Fatalf("process %s is alive", p)
				}
				time.Sleep(time.Millisecond)
			}
		}
		took := max(last, time.Since(at))
		t.Logf("the end of %d sessions took %s, of it Changed %s", many, took, changed)
		for _, p := range strings.Fields(other.stdout()) {
			if !alive(p) {
				t.Errorf("bob's process %s has gone", p)
			}
		}
		if s := l.srv.Sessions(); len(s) != 1 || s[0].User != "bob@example.com" {
			t.Errorf("%+v", s)
		}
		other.Process.Kill()
		for _, p := range strings.Fields(other.stdout()) {
			kill(p)
		}
		l.srv.Close()
		if n := len(l.recorded(audit.SessionStart)); n != many+2 {
			t.Errorf("%d starts", n)
		}
		blocked := 0
		over := make(map[string]bool)
		for _, e := range l.recorded(audit.SessionEnd) {
			if over[e.Session] {
				t.Errorf("session %s ended twice", e.Session)
			}
			over[e.Session] = true
			if e.Reason == reason.Blocked {
				blocked++
			}
		}
		if len(over) != many+2 || blocked != many+1 {
			t.Errorf("%d ends, %d of them blocked", len(over), blocked)
		}
		if s, e := len(l.recorded(audit.ChannelStart)), len(l.recorded(audit.ChannelEnd)); s != many+1 || e != many+1 {
			t.Errorf("%d channels began, %d ended", s, e)
		}
		return max(took, time.Duration(changed.Seconds()/0.2*float64(endTime))) // the server itself has a fifth of a second of it
	})
}

func TestRevocationReachesBusyAndInteractiveSessions(t *testing.T) {
	inTime(t, func() time.Duration {
		l := newLabWith(t, asInService)
		ann := l.login("ann", 0)
		up := l.tool("ssh", ann, "web-1", "cat >/dev/null")
		zero, err := os.Open("/dev/zero")
		if err != nil {
			t.Fatal(err)
		}
		defer zero.Close()
		sessions := map[string]*started{
			"download": l.start(l.tool("ssh", ann, "web-1", "cat /dev/zero")),
			"terminal": l.start(l.tool("ssh", ann, "-tt", "web-1", "echo on; sleep 300")),
		}
		up.Stdin = zero
		var errs lockedOutput
		up.Stderr = &errs
		if err := up.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "traffic", func() bool {
			return len(sessions["download"].stdout()) > 1<<20 && strings.Contains(sessions["terminal"].stdout(), "on")
		})
		at := time.Now()
		l.setMap(block("ann"))
		l.srv.Changed()
		var took time.Duration
		for _, c := range sessions {
			took = max(took, ended(t, c.wait(), c.stderr(), "[blocked]", at))
		}
		return max(took, ended(t, exitOf(t, up.Wait()), errs.String(), "[blocked]", at))
	})
}

func TestWhyALiveSessionEnds(t *testing.T) {
	for _, c := range []struct {
		name   string
		code   reason.Code
		rule   func(*State)
		change func(*lab)
	}{
		{"logout", reason.Revoked, nil, func(l *lab) {
			l.setMap(func(s *State) {
				s.Map.Users = []api.MapUser{{UserRef: person("ann"), NotBefore: time.Now().Add(time.Minute)}}
			})
		}},
		{"policy", reason.PolicyGone, nil, func(l *lab) { l.setMap(func(s *State) { s.Map.Rules = nil }) }},
		{"switched off", reason.Disabled, nil, func(l *lab) { l.setMap(func(s *State) { s.Enabled = false }) }},
		{"source removed", reason.PolicyGone, nil, func(l *lab) { l.setMap(func(s *State) { s.Map.Peers = nil }) }},
		{"silence of the management server", reason.MapStale, func(s *State) { s.Map.MaxMapAge = 3600 }, func(l *lab) { l.clock.Store(int64(2 * time.Hour)) }},
		{"issuer removed", reason.Issuer, nil, func(l *lab) { l.setMap(func(s *State) { s.Map.Issuers = nil }) }},
		{"issuer's key distrusted", reason.Distrusted, nil, func(l *lab) {
			l.setMap(func(s *State) {
				id, _, _ := token.KeyID(l.jwk())
				s.Map.Issuers[0].Keys, s.Map.Issuers[0].Distrusted = nil, []api.KeyRef{{KID: "k1", ID: id}}
			})
		}},
		{"silence of the client", reason.Silent, nil, func(l *lab) {
			key := l.recorded(audit.SessionStart)[0].Key
			l.setMap(func(s *State) {
				s.Map.LoginGrace, s.Map.Silent = 60, []api.SilentLogin{{Key: key, Since: time.Now().Add(-62 * time.Minute)}}
			})
		}},
		{"the machine's limits leave the account out", reason.Limits, nil, func(l *lab) {
			l.setMap(func(s *State) { s.Limits = &policy.Limits{Accounts: []string{"somebody"}} })
		}},
		{"longest session", reason.MaxTime, func(s *State) { s.Map.Rules[0].MaxSession = 3600 }, func(l *lab) { l.clock.Store(int64(61 * time.Minute)) }},
		{"idle", reason.Idle, func(s *State) { s.Map.Rules[0].Idle = 600 }, func(l *lab) { l.clock.Store(int64(11 * time.Minute)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			if c.rule != nil {
				l.setMap(c.rule)
			}
			s := l.start(l.tool("ssh", l.login("ann", 0), "web-1", "echo on; sleep 300"))
			s.line()
			c.change(l)
			l.srv.Changed()
			if exit := s.wait(); exit != 255 || !strings.Contains(s.stderr(), "["+string(c.code)+"]") {
				t.Errorf("exit %d, %q", exit, s.stderr())
			}
			l.srv.Close()
			if e := l.recorded(audit.SessionEnd); len(e) != 1 || e[0].Reason != c.code {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestTokenAgeDoesNotEndALiveSession(t *testing.T) {
	l := newLab(t)
	s := l.start(l.tool("ssh", l.login("ann", 0), "web-1", "echo on; read x; exit 4"))
	s.line()
	l.clock.Store(int64(3 * time.Hour))
	l.setMap(nil)
	if ended := l.srv.Changed(); len(ended) != 0 {
		t.Fatalf("%v ended", ended)
	}
	fmt.Fprintln(s.in, "go on")
	if exit := s.wait(); exit != 4 {
		t.Errorf("exit %d, %q", exit, s.stderr())
	}
}

func TestNewChannelIsDecidedAgain(t *testing.T) {
	l := newLabWith(t, func(c *Config) { c.Limits.Tick = time.Hour }) // nor does the server look by itself
	c := l.dial("ann")
	defer c.Close()
	l.setMap(block("ann")) // and nobody calls Changed
	if _, err := c.NewSession(); err == nil || !strings.Contains(err.Error(), "[blocked]") {
		t.Errorf("%v", err)
	}
	eventually(t, "end", func() bool { return len(l.recorded(audit.SessionEnd)) == 1 })
}

func TestOwnerEndsASession(t *testing.T) {
	l := newLab(t)
	s := l.start(l.tool("ssh", l.login("ann", 0), "web-1", "echo on; sleep 300"))
	s.line()
	list := l.srv.Sessions()
	if len(list) != 1 || list[0].LocalUser != l.account.Name || list[0].Rule != "rule1" || strings.Join(list[0].Channels, " ") != "exec" {
		t.Fatalf("%+v", list)
	}
	if !l.srv.End(list[0].ID, reason.EndedHere) || l.srv.End("no-such", reason.EndedHere) {
		t.Error("End does not say what it did")
	}
	if exit := s.wait(); exit != 255 || !strings.Contains(s.stderr(), "[ended-by-owner]") {
		t.Errorf("exit %d, %q", exit, s.stderr())
	}
}

func TestCloseTellsAndSparesNohup(t *testing.T) {
	l := newLab(t)
	s := l.start(l.tool("ssh", l.login("ann", 0), "web-1", "nohup sleep 300 </dev/null >/dev/null 2>&1 & echo $!; sleep 301"))
	pid := pidOf(t, s.line())
	defer kill(pid)
	runs(t, pid, "sleep")
	l.srv.Close()
	if exit := s.wait(); exit != 255 || !strings.Contains(s.stderr(), "[shutdown]") {
		t.Errorf("exit %d, %q", exit, s.stderr())
	}
	if !alive(pid) {
		t.Error("nohup work has ended")
	}
}

func TestChangeNamesWhatItEndedBeforeAnyoneAsked(t *testing.T) {
	l := newLab(t)
	ssh := l.start(l.tool("ssh", l.login("ann", 0), "-N", "web-1"))
	eventually(t, "session", func() bool { return len(l.srv.Sessions()) == 1 })
	id := l.srv.Sessions()[0].ID
	if ended := l.srv.Changed(); len(ended) != 0 {
		t.Fatalf("ended %v", ended)
	}
	l.setMap(block("ann"))
	ssh.wait() // the server's own look at its sessions
	if ended := l.srv.Changed(); len(ended) != 1 || ended[0] != id {
		t.Errorf("ended %v, want %s", ended, id)
	}
	if ended := l.srv.Changed(); len(ended) != 0 {
		t.Errorf("named once more: %v", ended)
	}
}
