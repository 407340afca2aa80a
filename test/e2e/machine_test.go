//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
)

const (
	runner = "runner" // runs Ansible; nobody is signed in there
	db     = "db-1"   // serves SSH too
)

// automation is a network without people: on the runner, ansible may be deploy on web-1, and builder on db-1.
type automation struct {
	t     *testing.T
	mgmt  *lab.Mgmt
	peers map[string]*lab.Peer
}

func openAutomation(t *testing.T, userspace bool) *automation {
	t.Helper()
	ctx := within(t, 6*time.Minute)
	l, err := lab.Open(ctx, lab.Options{
		Bin: filepath.Join("..", "..", ".build", "bin"), Machines: []string{office, runner, web, db},
		Accounts: []string{"ansible", "builder", "deploy"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(l.Logs(60))
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	a := &automation{t: t, peers: map[string]*lab.Peer{}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	a.mgmt, err = l.StartMgmt(ctx, office)
	must(err)
	for name, j := range map[string]lab.Joining{
		web: {Tags: []string{"tag:web"}, SSH: true}, db: {Tags: []string{"tag:db"}, SSH: true},
		runner: {Tags: []string{"tag:ci"}, Userspace: userspace},
	} {
		a.peers[name], err = a.mgmt.Enrol(ctx, name, j)
		must(err)
		if j.SSH {
			_, err = a.mgmt.Admin(ctx, "peer", "approve", name)
			must(err)
		}
	}
	if userspace {
		_, err = a.peers[runner].Lanyard(ctx, "", "up", "--connect", "ansible,builder")
		must(err)
	}
	must(a.mgmt.AddPolicy(ctx, "playbooks", "machine:runner/ansible", "tag:web", "deploy"))
	must(a.mgmt.AddPolicy(ctx, "builds", "tag:ci/builder", "tag:db", "deploy"))
	for _, name := range []string{web, db} {
		must(a.peers[name].Serves(ctx))
		must(a.peers[runner].Knows(ctx, name))
	}
	return a
}

// ssh runs a command as an account of the runner. There is a desktop, and a browser that tells when it is opened.
func (a *automation) ssh(account string, args ...string) result {
	a.t.Helper()
	return finish(a.command(within(a.t, 90*time.Second), account, args...))
}

func (a *automation) command(ctx context.Context, account string, args ...string) *exec.Cmd {
	c := a.peers[runner].SSH(ctx, account, "ssh", args...)
	c.Env = append(c.Env, "DISPLAY=:0", "BROWSER="+a.browser())
	return c
}

// browser is a program that notes that it was started.
func (a *automation) browser() string {
	a.t.Helper()
	name := filepath.Join(a.peers[runner].Scratch(), "browser")
	if _, err := os.Stat(a.peers[runner].Path(name)); err != nil {
		if err := a.peers[runner].Write(name, "", 0o755, []byte("#!/bin/sh\n>/tmp/opened-by-$(id -un)\n")); err != nil {
			a.t.Fatal(err)
		}
	}
	return name
}

func (a *automation) opened(account string) bool {
	_, err := os.Stat(a.peers[runner].Path("/tmp/opened-by-" + account))
	return err == nil
}

func (a *automation) admin(args ...string) string {
	a.t.Helper()
	out, err := a.mgmt.Admin(within(a.t, 60*time.Second), args...)
	if err != nil {
		a.t.Fatal(err)
	}
	return out
}

func TestAccountOfAMachineNeedsNobodysSignIn(t *testing.T) {
	needsRoot(t)
	for _, mode := range []string{"interface", "userspace"} {
		t.Run(mode, func(t *testing.T) { automate(t, mode == "userspace") })
	}
}

func automate(t *testing.T, userspace bool) {
	a := openAutomation(t, userspace)
	t.Run("the account that the rule names", func(t *testing.T) {
		r := a.ssh("ansible", "deploy@web-1", "echo in as $(id -un) for $LANYARD_USER")
		if r.code != 0 || r.out != "in as deploy for machine:runner/ansible\n" || r.err != "" {
			t.Errorf("%s", r)
		}
		if a.opened("ansible") {
			t.Error("a browser was opened")
		}
		if r := a.ssh("ansible", "web-1", "true"); r.code != 0 {
			t.Errorf("by the account that the rule leaves: %s", r)
		}
		if r := a.ssh("ansible", "root@web-1", "true"); r.code != 255 || !strings.Contains(r.err, "[local-user]") && !strings.Contains(r.err, "[privileged]") {
			t.Errorf("as root: %s", r)
		}
	})
	t.Run("another account", func(t *testing.T) {
		// The way is open to it: where a rule names it, it comes in.
		if r := a.ssh("builder", "deploy@db-1", "echo for $LANYARD_USER"); r.code != 0 || r.out != "for machine:runner/builder\n" {
			t.Fatalf("%s", r)
		}
		key := machineKey(t, a.peers[runner], "builder")
		c := a.peers[runner].SSH(within(t, 90*time.Second), "builder", "ssh", "-i", key, "-o", "CertificateFile="+key+"-cert.pub", "deploy@web-1", "true")
		if r := finish(c); r.code != 255 || !strings.Contains(r.err, "[no-rule]") {
			t.Errorf("with its own certificate where the rule names ansible: %s", r)
		}
		if r := a.ssh("ansible", "deploy@db-1", "true"); r.code != 255 || !strings.Contains(r.err, "[not-logged-in]") || a.opened("ansible") {
			t.Errorf("ansible where the rule names builder (browser opened: %v): %s", a.opened("ansible"), r)
		}
		// Nor can it have ansible's.
		if out, err := a.peers[runner].Output(within(t, 60*time.Second), "builder", "cat", "/home/ansible/.ssh/"+filepath.Base(key)); err == nil {
			t.Errorf("builder read %q", out)
		}
	})
	t.Run("a person at a terminal", func(t *testing.T) {
		// The browser that opens is what the others did not get; deploy has no rule of any kind here.
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		c := a.peers[runner].SSH(ctx, "deploy", "script", "-qec", "ssh deploy@web-1 true", "/dev/null")
		c.Env = append(c.Env, "DISPLAY=:0", "BROWSER="+a.browser())
		if _, err := a.peers[runner].StartCommand("desktop", c); err != nil {
			t.Fatal(err)
		}
		if err := lab.Until(within(t, 60*time.Second), "a browser", func() error {
			if !a.opened("deploy") {
				return errors.New("none was opened")
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
	t.Run("what status and explain say", func(t *testing.T) {
		out, err := a.peers[runner].Lanyard(within(t, 60*time.Second), "ansible", "status")
		if err != nil || !strings.Contains(out, "Without a sign-in, web-1 lets these accounts of this machine in: ansible.") || !strings.Contains(out, "ssh web-1\n") {
			t.Errorf("%v\n%s", err, out)
		}
		for who, want := range map[string]string{"machine:runner/ansible": "[ok]", "machine:runner/builder": "[no-rule]"} {
			if out := a.admin("explain", who, "deploy@web-1"); !strings.Contains(out, want) || !strings.Contains(out, `on "runner"`) {
				t.Errorf("%s: %s", who, out)
			}
		}
	})
	t.Run("the audit log", func(t *testing.T) {
		if err := lab.Until(within(t, 60*time.Second), "the session's events", func() error {
			if out := a.admin("audit"); !strings.Contains(out, "machine:runner/ansible") {
				return fmt.Errorf("no session of machine:runner/ansible in:\n%s", out)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
	t.Run("the rule is removed", func(t *testing.T) {
		c := a.peers[runner].SSH(context.Background(), "ansible", "ssh", "deploy@web-1", "echo session open; sleep 1000")
		p, err := a.peers[runner].StartCommand("live-ansible", c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Match(within(t, 60*time.Second), sessionOpen); err != nil {
			t.Fatal(err)
		}
		until(t, "the session alone in the list", func() error { // those before may be at their end still
			st, err := a.peers[web].Status(within(t, 60*time.Second))
			if err == nil && (len(st.Sessions) != 1 || st.Sessions[0].User != "machine:runner/ansible" || st.Sessions[0].Source != runner) {
				err = fmt.Errorf("who is on web-1: %+v", st.Sessions)
			}
			return err
		})
		a.admin("policy", "remove", "playbooks")
		watch := lab.StartWatch()
		defer watch.Stop()
		select {
		case <-p.Done():
		case <-time.After(90 * time.Second):
			t.Fatalf("the session is still there\n%s", p.Text())
		}
		if took := watch.Took(); took > time.Second || !strings.Contains(p.Text(), "[policy-changed]") {
			t.Errorf("it ended after %s with %q", took, p.Text())
		}
		c = a.peers[runner].SSH(within(t, 60*time.Second), "ansible", "ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "deploy@web-1", "true")
		if r := finish(c); r.code != 255 {
			t.Errorf("after the rule was removed: %s", r)
		}
	})
}

// Without root, in folders of the caller's own: a service of one user vouches for that user.
func TestUsersOwnServiceVouchesForItsUser(t *testing.T) {
	w := open(t, true)
	if r := w.ssh("ann", "true"); r.code != 255 {
		t.Fatalf("nobody is signed in, and no rule names the account: %s", r)
	}
	if err := w.mgmt.AddPolicy(within(t, 60*time.Second), "own", "machine:"+laptop+"/"+lab.Me(), "tag:web", w.as); err != nil {
		t.Fatal(err)
	}
	if err := lab.Until(within(t, 60*time.Second), "the rule on the machine", func() error {
		out, err := w.peers[laptop].Lanyard(within(t, 60*time.Second), "", "status")
		if err == nil && !strings.Contains(out, "Without a sign-in, ") {
			err = errors.New(out)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var r result
	if err := lab.Until(within(t, 90*time.Second), "ssh's configuration, which comes a moment later", func() error {
		if r = w.ssh("ann", "echo for $LANYARD_USER"); r.code != 0 {
			return errors.New(r.String())
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if r.out != "for machine:laptop/"+lab.Me()+"\n" || r.err != "" {
		t.Errorf("%s", r)
	}
}
