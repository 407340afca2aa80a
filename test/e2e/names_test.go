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
	ctx := within(t, time.Minute)
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
	if got := resolves("web-1.lanyard.internal"); got != addr {
		t.Errorf("web-1 resolves to %q, not to %s:\n%s", got, addr, before)
	}
	if got := resolves("localhost"); got != "127.0.0.1" {
		t.Errorf("localhost resolves to %q", got)
	}
	r := finish(client.SSH(ctx, "ann", "ssh", "laptop.lanyard.internal", "true"))
	if r.code != 255 || !strings.Contains(r.err, "[this-machine]") {
		t.Errorf("ssh to this machine: %s", r)
	}
	if _, err := client.Lanyard(ctx, "", "down"); err != nil {
		t.Fatal(err)
	}
	if err := lab.Until(within(t, 5*time.Second), "the names are gone", func() error {
		if after, err := client.Output(ctx, "", "cat", "/etc/hosts"); err != nil || strings.Contains(after, "Lanyard") {
			return fmt.Errorf("%v: %s", err, after)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
