//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
)

// A laptop is lost, and whoever has it keeps it off the management server's line. One command takes the machine, its
// sessions and the sign-ins on it out of the network; the person's other laptop notices nothing. A copy of its disk that
// was taken before is worth nothing afterwards.
func TestLostLaptop(t *testing.T) {
	needsRoot(t)
	w := open(t, false, taken)
	ctx := within(t, 9*time.Minute)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	away, err := w.mgmt.Enrol(ctx, taken, lab.Joining{Tags: []string{"tag:web"}, SSH: true})
	must(err)
	must(away.Serves(ctx))
	must(away.Daemon.Stop()) // cannot be told
	w.login("ann")
	w.login("bob")
	if out, err := w.peers[desk].Login(ctx, "ann", people["ann"]); err != nil {
		t.Fatal(err, out)
	}
	first, second, kept := w.open("ann"), w.open("bob"), w.openAt(w.peers[desk], "ann")

	// The copy of the disk, on another machine of the network.
	address, err := w.peers[web].Overlay(ctx)
	must(err)
	keys, err := filepath.Glob(w.peers[laptop].Path("/home/ann/.ssh/lanyard-default-*-cert.pub"))
	if err != nil || len(keys) != 1 {
		t.Fatalf("ann's certificates: %q, %v", keys, err)
	}
	for from, to := range map[string]string{keys[0]: "/tmp/stolen-cert.pub", strings.TrimSuffix(keys[0], "-cert.pub"): "/tmp/stolen"} {
		b, err := os.ReadFile(from)
		must(err)
		must(w.peers[desk].Write(to, "carol", 0o600, b))
	}
	stolen := func() result {
		return finish(w.peers[desk].SSH(within(t, 90*time.Second), "carol", "ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i", "/tmp/stolen",
			"-o", "CertificateFile=/tmp/stolen-cert.pub", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", w.as+"@"+address, "echo in"))
	}
	api := func() []attempt {
		t.Helper()
		b, err := os.ReadFile(keys[0])
		must(err)
		must(w.peers[desk].Write("/root/stolen-cert.pub", "", 0o600, b))
		return w.attempts(t, w.peers[desk], []string{"KEY=" + w.forControl(t, w.peers[desk], strings.TrimSuffix(keys[0], "-cert.pub"))}, "call", w.mgmt.Join, "/root/stolen-cert.pub")
	}
	if r := stolen(); r.out != "in\n" {
		t.Fatalf("the copy should be good so far: %s", r)
	}
	w.mute(laptop, "")
	w.fw(laptop, "add", "chain", "inet", "mute", "in", "{ type filter hook input priority 0; }")
	w.fw(laptop, "add", "rule", "inet", "mute", "in", "tcp", "sport", "8443", "drop")

	var out struct {
		Object struct {
			Logins []struct{ User string } `json:"logins"`
		} `json:"object"`
		Effect struct {
			Ended     []struct{ Peer, Session string } `json:"ended"`
			Reached   []string                         `json:"reached"`
			Unreached []string                         `json:"unreached"`
		} `json:"effect"`
	}
	asked := lab.StartWatch()
	defer asked.Stop()
	said := w.admin("--json", "peer", "lost", laptop)
	missed := mayMiss(asked)
	watch := lab.StartWatch()
	defer watch.Stop()
	if err := json.Unmarshal([]byte(said), &out); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	for _, s := range []*live{first, second} {
		for s.processes() > 0 {
			if time.Since(watch.Began()) > hang {
				t.Fatalf("a session of the lost machine goes on:\n%s", s.Text())
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
	took := time.Since(watch.Began())
	t.Logf("the sessions had ended %s after the answer", took)
	if less := watch.Less(took); less > time.Second {
		t.Errorf("the sessions of the lost machine ended after %s, of which this machine held programs up for %s; want 1 s", took, took-less)
	}
	late := missed && slices.Equal(out.Effect.Unreached, []string{taken, web}) // it says so, then
	if e := out.Effect; !late && (len(e.Ended) != 2 || e.Ended[0].Peer != web || !slices.Equal(e.Reached, []string{web}) || !slices.Equal(e.Unreached, []string{taken})) {
		t.Errorf("it tells of other sessions and machines: %s", said)
	}
	if l := out.Object.Logins; len(l) != 2 || l[0].User != people["ann"].Email || l[1].User != people["bob"].Email {
		t.Errorf("it tells of other sign-ins: %s", said)
	}

	// The lost machine itself, which does not know yet: its key opens no tunnel.
	if r := finish(w.peers[laptop].Command(within(t, 60*time.Second), "ann", "ssh", "-F", "none", "-o", "ConnectTimeout=4", w.as+"@"+address, "true")); r.code != 255 || !strings.Contains(r.err, "timed out") {
		t.Errorf("through the lost machine's tunnel: %s", r)
	}
	if r := stolen(); r.code != 255 || !strings.Contains(r.err, "[revoked]") {
		t.Errorf("the copy of the disk, used elsewhere: %s", r)
	}
	for _, a := range api() {
		if a.Accepted || !strings.Contains(a.Said, "revoked") && !strings.Contains(a.What, "/api/admin/") {
			t.Errorf("at the management server the copy should be refused as revoked: %+v", a)
		}
	}
	w.unmute(laptop)
	if err := lab.Until(within(t, 90*time.Second), "the lost machine to hear of it", func() error {
		s, err := w.peers[laptop].Status(ctx)
		if err == nil && s.State != "removed" {
			err = fmt.Errorf("it is %s", s.State)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	if out, err := w.peers[laptop].Lanyard(ctx, "ann", "login"); err == nil {
		t.Errorf("somebody signed in on the lost machine: %s", out)
	}

	if !kept.alive() {
		t.Errorf("the session from the other laptop ended too:\n%s", kept.Text())
	}
	if r := finish(w.peers[desk].SSH(ctx, "ann", "ssh", w.target, "echo in")); r.out != "in\n" {
		t.Errorf("ann, from the other laptop: %s", r)
	}

	// The other machine was off when it was removed, and hears of it when it is on again.
	w.admin("peer", "remove", taken)
	must(away.StartDaemon(ctx))
	if err := lab.Until(within(t, 2*time.Minute), "the removed machine to hear of it", func() error {
		s, err := away.Status(ctx)
		if err == nil && s.State != "removed" {
			err = fmt.Errorf("it is %s", s.State)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	if out, err := away.Lanyard(ctx, "", "doctor"); err == nil || strings.Count(out, "removed from") != 1 || !strings.Contains(out, " [machine-removed]\n         -> run 'lanyard up' to join again\n") {
		t.Errorf("its doctor: %v\n%s", err, out)
	}
}
