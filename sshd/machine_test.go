//go:build linux

package sshd

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/reason"
	"lanyard/sshd/token"
)

// runner is the machine key of the peer that connections come from.
func runner() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat("r", ed25519.SeedSize)))
}

// admitMachine puts a map in force by which the account ansible of the source peer may be the local account.
func (l *lab) admitMachine(change func(*State)) {
	l.setMap(func(s *State) {
		s.Map.Peers[0].MachineKey = runner().Public().(ed25519.PublicKey)
		r := &s.Map.Rules[0]
		r.Users, r.Machines, r.As = nil, []api.MachineRef{{Peer: "pclient", Account: "ansible"}}, []string{l.account.Name}
		if change != nil {
			change(s)
		}
	})
}

// machine makes key and certificate of a machine's account and an ssh_config that uses them, whose path it returns.
func (l *lab) machine(name string, m token.Machine, by ed25519.PrivateKey, age time.Duration) string {
	l.t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		l.t.Fatal(err)
	}
	wire, _ := ssh.NewPublicKey(pub)
	cert, err := token.MintMachine(by, wire, m, time.Now().Add(-age))
	if err != nil {
		l.t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		l.t.Fatal(err)
	}
	id := l.write("machine-"+name, string(pem.EncodeToMemory(block)), 0o600)
	l.write("machine-"+name+"-cert.pub", string(ssh.MarshalAuthorizedKey(cert)), 0o644)
	return l.config("machine-"+name, id, "CertificateFile "+id+"-cert.pub")
}

func ansibleOf(peer string) token.Machine {
	return token.Machine{Peer: peer, Account: "ansible", AccountID: "1001"}
}

func TestAccountOfAMachineIsLetInByItsMachinesWord(t *testing.T) {
	l := newLab(t)
	l.admitMachine(nil)
	ansible := l.machine("ansible", ansibleOf("pclient"), runner(), 0)
	got := l.ssh(ansible, "web-1", "echo in $LANYARD_USER")
	if got.exit != 0 || got.stdout != "in machine:laptop/ansible\n" || strings.Contains(got.stderr, "Lanyard") {
		t.Fatalf("%+v", got)
	}
	eventually(t, "event", func() bool { return len(l.recorded(audit.SessionEnd)) == 1 })
	for _, e := range l.recorded(audit.SessionStart, audit.SessionEnd) {
		if e.Issuer != "" || e.Subject != "" || e.User != "machine:laptop/ansible" || e.Source != "pclient" || e.LocalUser != l.account.Name || e.Rule != "rule1" {
			t.Errorf("%+v", e)
		}
	}
}

func TestMachineCertificateIsRefused(t *testing.T) {
	foreign := ed25519.NewKeyFromSeed([]byte(strings.Repeat("f", ed25519.SeedSize)))
	for _, c := range []struct {
		name    string
		code    reason.Code
		machine token.Machine
		by      ed25519.PrivateKey
		age     time.Duration
		user    string
		change  func(*State)
	}{
		{name: "of another account", code: reason.NoRule, machine: token.Machine{Peer: "pclient", Account: "builder", AccountID: "1002"}, by: runner()},
		// It is in the map, with its key: its word is good from its own connections.
		{name: "of another machine", code: reason.OtherMachine, machine: ansibleOf("pother"), by: foreign, change: func(s *State) {
			s.Map.Peers = append(s.Map.Peers, api.Peer{ID: "pother", Name: "other", MachineKey: foreign.Public().(ed25519.PublicKey)})
			s.Map.Rules[0].Machines = append(s.Map.Rules[0].Machines, api.MachineRef{Peer: "pother", Account: "ansible"})
		}},
		{name: "of this machine by another's key", code: reason.OtherMachine, machine: ansibleOf("pclient"), by: foreign},
		{name: "for another machine by this one's key", code: reason.OtherMachine, machine: ansibleOf("pother"), by: runner(), change: func(s *State) {
			s.Map.Rules[0].Machines = append(s.Map.Rules[0].Machines, api.MachineRef{Peer: "pother", Account: "ansible"})
		}},
		{name: "of a machine whose key the map does not have", code: reason.OtherMachine, machine: ansibleOf("pclient"), by: runner(), change: func(s *State) {
			s.Map.Peers[0].MachineKey = nil
		}},
		{name: "expired", code: reason.MachineExpired, machine: ansibleOf("pclient"), by: runner(), age: 7 * time.Minute},
		{name: "of the future", code: reason.ClockSkew, machine: ansibleOf("pclient"), by: runner(), age: -2 * time.Minute},
		{name: "where a person's own device is wanted", code: reason.OwnDevice, machine: ansibleOf("pclient"), by: runner(), change: func(s *State) {
			s.Map.Rules[0].OwnDevice = true
		}},
		{name: "for an account that the rule does not grant", code: reason.LocalUser, machine: ansibleOf("pclient"), by: runner(), change: func(s *State) {
			s.Map.Rules[0].As = []string{"somebody"}
		}},
		{name: "for root, whom the rule does not name", code: reason.Privileged, machine: ansibleOf("pclient"), by: runner(), user: "root", change: func(s *State) {
			s.Map.Rules[0].As = []string{"*"}
		}},
		{name: "when SSH is off", code: reason.Disabled, machine: ansibleOf("pclient"), by: runner(), change: func(s *State) { s.Enabled = false }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.user == "root" && os.Geteuid() != 0 {
				t.Skip("needs root: without, a server serves its own account only")
			}
			l := newLab(t)
			// What differs is what refuses: without it, the same way is open.
			l.admitMachine(nil)
			if got := l.ssh(l.machine("good", ansibleOf("pclient"), runner(), 0), "web-1", "echo in"); got.stdout != "in\n" {
				t.Fatalf("%+v", got)
			}
			l.admitMachine(c.change)
			args := []string{"web-1", "echo in"}
			if c.user != "" {
				args = append([]string{"-l", c.user}, args...)
			}
			got := l.ssh(l.machine("bad", c.machine, c.by, c.age), args...)
			if got.exit != 255 || got.stdout != "" || !strings.Contains(got.stderr, c.code.Line()+"\n") {
				t.Errorf("not refused with %s: %+v", c.code, got)
			}
			eventually(t, "event", func() bool { return len(l.recorded(audit.Refused)) == 1 })
			if e := l.recorded(audit.Refused)[0]; e.Reason != c.code || e.Subject != "" || e.Source != "pclient" {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestMachineMayBeRootOnlyWhereARuleSaysRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: a session of root")
	}
	l := newLab(t)
	l.admitMachine(func(s *State) { s.Map.Rules[0].As = []string{"*"} })
	ansible := l.machine("ansible", ansibleOf("pclient"), runner(), 0)
	if got := l.ssh(ansible, "-l", "root", "web-1", "id -u"); got.exit != 255 || got.stdout != "" {
		t.Errorf("root by a rule for any account: %+v", got)
	}
	l.admitMachine(func(s *State) { s.Map.Rules[0].As = []string{"*", "root"} })
	if got := l.ssh(ansible, "-l", "root", "web-1", "id -u"); got.stdout != "0\n" {
		t.Errorf("root by a rule for root: %+v", got)
	}
}

func TestMachineSessionEndsWithItsRuleAndItsMachine(t *testing.T) {
	for name, change := range map[string]func(*State){
		"the rule is gone":           func(s *State) { s.Map.Rules = nil },
		"the account is out of it":   func(s *State) { s.Map.Rules[0].Machines[0].Account = "builder" },
		"the machine is gone":        func(s *State) { s.Map.Peers = nil },
		"the machine is another one": func(s *State) { s.Map.Peers[0].MachineKey = make([]byte, ed25519.PublicKeySize) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.admitMachine(nil)
			s := l.start(l.tool("ssh", l.machine("ansible", ansibleOf("pclient"), runner(), 0), "web-1", "echo $$; exec sleep 1000"))
			pid := pidOf(t, s.line())
			l.admitMachine(nil) // a map that changes nothing for it
			if ended := l.srv.Changed(); len(ended) != 0 {
				t.Fatalf("ended %q", ended)
			}
			l.admitMachine(change)
			if ended := l.srv.Changed(); len(ended) != 1 {
				t.Fatalf("ended %q", ended)
			}
			if exit := s.wait(); exit != 255 || !strings.Contains(s.stderr(), reason.PolicyGone.Line()) {
				t.Errorf("exit %d, stderr %q", exit, s.stderr())
			}
			eventually(t, "end of the process", func() bool { return !alive(pid) })
		})
	}
}

// The certificate lives minutes, the session as long as its rule.
func TestMachineSessionOutlivesItsCertificate(t *testing.T) {
	l := newLab(t)
	l.admitMachine(nil)
	s := l.start(l.tool("ssh", l.machine("ansible", ansibleOf("pclient"), runner(), 0), "web-1", "echo begun; cat"))
	s.line()
	l.clock.Store(int64(time.Hour))
	if ended := l.srv.Changed(); len(ended) != 0 {
		t.Fatalf("ended %q", ended)
	}
	s.in.Close()
	if exit := s.wait(); exit != 0 {
		t.Errorf("exit %d, stderr %q", exit, s.stderr())
	}
}

func TestPersonsCertificateIsPreferred(t *testing.T) {
	l := newLab(t)
	l.admitMachine(func(s *State) { s.Map.Rules[0].Users = []api.UserRef{person("ann")} })
	l.login("ann", 0)
	l.machine("ansible", ansibleOf("pclient"), runner(), 0)
	ann, ansible := l.dir+"/id-ann", l.dir+"/machine-ansible"
	both := l.config("both", ann, "CertificateFile "+ann+"-cert.pub\nIdentityFile "+ansible+"\nCertificateFile "+ansible+"-cert.pub")
	if got := l.ssh(both, "web-1", "echo $LANYARD_USER"); got.stdout != "ann@example.com\n" {
		t.Errorf("%+v", got)
	}
	if err := os.Remove(ann + "-cert.pub"); err != nil {
		t.Fatal(err)
	}
	if got := l.ssh(both, "web-1", "echo $LANYARD_USER"); got.stdout != "machine:laptop/ansible\n" {
		t.Errorf("nobody signed in: %+v", got)
	}
}

// What a provider calls somebody never looks like a machine.
func TestNobodyIsNamedAsAMachine(t *testing.T) {
	if g := personGrant(&token.Identity{Issuer: issuerURL, Subject: "s", Name: "machine:runner/ansible"}); g.user != "user:machine:runner/ansible" {
		t.Errorf("%q", g.user)
	}
}
