//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
)

// A machine is part of two networks, each with a management server and a web-1 of its own: every name means one machine.
func TestTwoNetworksWithTheSameMachineNamesNeverClash(t *testing.T) {
	needsRoot(t)
	const office2, other = "office-2", "other"
	w := open(t, false, office2, other)
	ctx := within(t, 6*time.Minute)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	second, err := w.lab.StartMgmt(ctx, office2, "--overlay4", "100.111.0.0/16")
	must(err)
	// The same person by another account: the sign-ins have nothing to do with each other.
	annAtWork := lab.Person{Email: "ann@work.example", Password: "ann has another password at work"}
	must(second.AddUser(ctx, annAtWork.Email, "ann", annAtWork.Password))
	must(second.AddPolicy(ctx, "web", "user:"+annAtWork.Email, "tag:web", "deploy"))
	far, err := second.Enrol(ctx, other, lab.Joining{Tags: []string{"tag:web"}, SSH: true, Name: web})
	must(err)
	prod, err := second.Enrol(ctx, laptop, lab.Joining{Tags: []string{"tag:laptop"}, Profile: "prod"})
	must(err)
	must(far.Serves(ctx))
	must(prod.Knows(ctx, web))
	for _, g := range []*lab.Mgmt{w.mgmt, second} {
		_, err := g.Admin(ctx, "peer", "approve", web)
		must(err)
	}

	w.login("ann")
	out, err := prod.Login(ctx, "ann", annAtWork)
	must(err)
	if !strings.Contains(out, "Next: ssh web-1.prod\n") {
		t.Errorf("the next command in the other network: %s", out)
	}
	reaches := func(host, machine string) {
		t.Helper()
		if err := lab.Until(within(t, 90*time.Second), host+" to be "+machine, func() error {
			r := finish(w.peers[laptop].SSH(within(t, 60*time.Second), "ann", "ssh", "deploy@"+host, "hostname"))
			if r.code != 0 || strings.TrimSpace(r.out) != machine {
				return fmt.Errorf("%s", r)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	all := map[string]string{"web-1": web, "web-1.lanyard.internal": web, "web-1.prod": other, "web-1.prod.lanyard.internal": other}
	for host, machine := range all {
		reaches(host, machine)
	}
	for _, p := range []struct {
		peer *lab.Peer
		host string
	}{{w.peers[web], "web-1.lanyard.internal"}, {far, "web-1.prod.lanyard.internal"}} {
		addr, err := p.peer.Overlay(ctx)
		must(err)
		if r := finish(prod.Command(ctx, "ann", "getent", "ahostsv4", p.host)); !strings.HasPrefix(r.out, addr+" ") {
			t.Errorf("%s resolves to %s, want %s", p.host, r, addr)
		}
	}
	if r := finish(prod.SSH(ctx, "ann", "ssh", "laptop.prod.lanyard.internal", "true")); r.code != 255 || !strings.Contains(r.err, "[this-machine]") {
		t.Errorf("this machine by its name in the other network: %s", r)
	}

	// Leaving one changes nothing in the other.
	if _, err := prod.Lanyard(ctx, "ann", "logout"); err != nil {
		t.Error(err)
	}
	if _, err := prod.Lanyard(ctx, "", "down"); err != nil {
		t.Fatal(err)
	}
	reaches("web-1", web)
	if r := finish(prod.Command(ctx, "ann", "getent", "hosts", "web-1.prod.lanyard.internal")); r.code == 0 {
		t.Errorf("after down the name still resolves: %s", r)
	}
	if r := finish(prod.SSH(ctx, "ann", "ssh", "-G", "web-1.prod")); strings.Contains(r.out, "lanyard-prod-") {
		t.Errorf("after down ssh still knows the machine: %s", r)
	}
}
