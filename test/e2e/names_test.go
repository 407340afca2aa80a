//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
)

func TestNamesResolveForEveryProgramUntilDown(t *testing.T) {
	needsRoot(t)
	w := open(t, false)
	ctx := within(t, 3*time.Minute)
	client := w.peers[laptop]
	before, err := client.Output(ctx, "", "cat", "/etc/hosts")
	if err != nil {
		t.Fatal(err)
	}
	addr, err := w.peers[web].Overlay(ctx)
	if err != nil {
		t.Fatal(err)
	}
	resolves := func(host string) string {
		r := finish(client.Command(ctx, "ann", "getent", "ahostsv4", host))
		ip, _, _ := strings.Cut(r.out, " ")
		return ip
	}
	until(t, "the name", func() error {
		if got := resolves("web-1.lanyard.internal"); got != addr {
			return fmt.Errorf("web-1 resolves to %q, not to %s:\n%s", got, addr, before)
		}
		return nil
	})
	if got := resolves("localhost"); got != "127.0.0.1" {
		t.Errorf("localhost resolves to %q", got)
	}
	justFits(t, w, addr)
	r := finish(client.SSH(ctx, "ann", "ssh", "laptop.lanyard.internal", "true"))
	if r.code != 255 || !strings.Contains(r.err, "[this-machine]") {
		t.Errorf("ssh to this machine: %s", r)
	}
	if _, err := client.Lanyard(ctx, "", "down"); err != nil {
		t.Fatal(err)
	}
	if err := lab.Until(within(t, 60*time.Second), "the names are gone", func() error {
		if after, err := client.Output(ctx, "", "cat", "/etc/hosts"); err != nil || strings.Contains(after, "Lanyard") {
			return fmt.Errorf("%v: %s", err, after)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	// A service that stops takes them out too.
	if _, err := client.Lanyard(ctx, "", "up"); err != nil {
		t.Fatal(err)
	}
	until(t, "the names to be back", func() error {
		if got := resolves("web-1.lanyard.internal"); got != addr {
			return fmt.Errorf("web-1 resolves to %q", got)
		}
		return nil
	})
	if err := client.Daemon.Stop(); err != nil {
		t.Error(err)
	}
	own, _, _ := strings.Cut(before, "# BEGIN Lanyard")
	if after, err := client.Output(ctx, "", "cat", "/etc/hosts"); err != nil || after != own {
		t.Errorf("after the service stopped: %v\n%s", err, after)
	}
}

// completed prints what bash-completion offers after "ssh web".
const completed = `. /usr/share/bash-completion/bash_completion; . /usr/share/bash-completion/completions/ssh
f=$(complete -p ssh); f=${f##*-F }; f=${f%% *}
COMP_WORDS=(ssh web) COMP_CWORD=1 COMP_LINE='ssh web' COMP_POINT=7 COMP_TYPE=9; "$f" ssh web ssh; printf '%s\n' "${COMPREPLY[@]}"`

// justFits: after the sign-in plain ssh needs no account where the rule leaves one, minds no old host key of the same
// name, and the shell completes the name.
func justFits(t *testing.T, w *world, addr string) {
	t.Helper()
	w.login("ann")
	client := w.peers[laptop]
	_, host, _ := strings.Cut(w.target, "@")
	stale := "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMdtWjIlwJGLKGVS2LuLcZbsVfTVZjVGr2RCfKXyVBcp\n"
	if err := client.Write("/home/ann/.ssh/known_hosts", "ann", 0o600, []byte(host+","+addr+",web-1 "+stale)); err != nil {
		t.Fatal(err)
	}
	if r := finish(client.SSH(within(t, 60*time.Second), "ann", "ssh", host, "id -un")); r.code != 0 || r.out != "deploy\n" || r.err != "" {
		t.Errorf("without an account, with another key in known_hosts: %s", r)
	}
	if out, err := client.Output(within(t, 60*time.Second), "ann", "bash", "-c", completed); err != nil || !strings.Contains("\n"+out, "\n"+host) {
		t.Errorf("bash completes %q (%v), want %s", out, err, host)
	}
}
