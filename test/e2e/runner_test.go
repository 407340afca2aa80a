//go:build linux

package e2e

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
)

// What a rule gives to an account of a machine is for that account. Other accounts of the machine, people who were
// blocked among them, get nothing of it.
func TestRunnersAccessIsForItsAccountOnly(t *testing.T) {
	needsRoot(t)
	a := openAutomation(t, false)
	ctx := within(t, 9*time.Minute)
	bob := people["bob"]
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(a.mgmt.AddUser(ctx, bob.Email, "bob", bob.Password))
	must(a.mgmt.AddPolicy(ctx, "bob", "user:"+bob.Email, "tag:web", "deploy"))
	must(a.peers[runner].Knows(ctx, web))
	if out, err := a.peers[runner].Login(ctx, "builder", bob); err != nil {
		t.Fatal(out, err)
	}
	// Without the drop-in, by hand: which key is offered is the attacker's choice.
	addr, err := a.peers[web].Overlay(ctx)
	must(err)
	by := func(account string, args ...string) result {
		args = append([]string{"-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no", "-o", "ConnectTimeout=5"}, args...)
		return finish(a.peers[runner].SSH(within(t, 60*time.Second), account, "ssh", args...))
	}
	const script = "echo in as $(id -un) for $LANYARD_USER"
	none := func(account, as string) result {
		return by(account, "-o", "PreferredAuthentications=none", as+"@"+addr, script)
	}

	t.Run("while bob is welcome", func(t *testing.T) {
		if r := a.ssh("builder", "deploy@"+web, script); r.out != "in as deploy for "+bob.Email+"\n" {
			t.Errorf("bob, in builder's account: %s", r)
		}
		if r := a.ssh("ansible", "deploy@"+web, script); r.out != "in as deploy for machine:runner/ansible\n" {
			t.Errorf("ansible: %s", r)
		}
		for _, account := range []string{"ansible", "builder", "root"} {
			if r := none(account, "deploy"); r.code != 255 || r.out != "" {
				t.Errorf("%s without any certificate, where no rule has any_process: %s", account, r)
			}
		}
	})
	t.Run("bob is blocked", func(t *testing.T) {
		a.admin("user", "block", bob.Email)
		if r := a.ssh("builder", "deploy@"+web, script); r.code != 255 || !strings.Contains(r.err, "[blocked]") {
			t.Errorf("bob: %s", r)
		}
		if r := none("builder", "deploy"); r.code != 255 || r.out != "" {
			t.Errorf("bob without a certificate: %s", r)
		}
		// Signed out, he is whoever uses builder's account: the service vouches for that, as a rule on db-1 names it. It is
		// no way to web-1.
		if out, err := a.peers[runner].Lanyard(ctx, "builder", "logout"); err != nil {
			t.Fatal(out, err)
		}
		if r := a.ssh("builder", "deploy@"+db, "true"); r.code != 0 {
			t.Fatalf("builder where the rule names it: %s", r)
		}
		key := machineKey(t, a.peers[runner], "builder")
		if r := by("builder", "-i", key, "-o", "CertificateFile="+key+"-cert.pub", "deploy@"+addr, script); r.code != 255 || !strings.Contains(r.err, "[no-rule]") {
			t.Errorf("bob with builder's machine certificate: %s", r)
		}
		// A third account, which no rule names at all, has no certificate to begin with.
		if r := finish(a.peers[runner].SSH(ctx, "deploy", "ssh", "-o", "BatchMode=yes", "deploy@"+web, script)); r.code != 255 {
			t.Errorf("an account that no rule names: %s", r)
		}
		if r := a.ssh("ansible", "deploy@"+web, script); r.code != 0 {
			t.Errorf("ansible goes on: %s", r)
		}
	})
	t.Run("any_process", func(t *testing.T) {
		if _, err := a.mgmt.Admin(ctx, "policy", "add", "loose", "--from", "machine:runner/ansible", "--to", "tag:web", "--as", "deploy,root", "--any-process"); err != nil {
			t.Fatal(err)
		}
		var r result
		must(lab.Until(ctx, "the rule in force", func() error {
			if r = none("builder", "deploy"); r.code != 0 {
				return errors.New(r.String())
			}
			return nil
		}))
		if r.out != "in as deploy for machine:runner/*\n" {
			t.Errorf("without a certificate: %s", r)
		}
		if r := none("builder", "root"); r.code != 255 || r.out != "" {
			t.Errorf("as root, which the rule names: %s", r)
		}
		// Who can say so, does: status on the runner and explain on the server.
		const warning = "anyone who can run a program"
		status, err := a.peers[runner].Lanyard(ctx, "ansible", "status")
		if err != nil {
			t.Error(err)
		}
		for what, out := range map[string]string{
			"policy list": a.admin("policy", "list"), "explain": a.admin("explain", "machine:runner/ansible", "deploy@"+web), "status": status,
		} {
			if !strings.Contains(out, warning) {
				t.Errorf("%s does not say %q:\n%s", what, warning, out)
			}
		}
		a.admin("policy", "remove", "loose")
		must(lab.Until(ctx, "the rule out of force", func() error {
			if r := none("builder", "deploy"); r.code != 255 {
				return errors.New(r.String())
			}
			return nil
		}))
	})
}

// machineKey is where the key of an account's machine certificate lies.
func machineKey(t *testing.T, p *lab.Peer, account string) string {
	t.Helper()
	keys, err := filepath.Glob(p.Path("/home/" + account + "/.ssh/lanyard-machine.default-p*-cert.pub"))
	if err != nil || len(keys) != 1 {
		t.Fatalf("certificates of %s: %q, %v", account, keys, err)
	}
	return "/home/" + account + "/.ssh/" + strings.TrimSuffix(filepath.Base(keys[0]), "-cert.pub")
}
