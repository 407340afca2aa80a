//go:build linux

package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
)

const taken = "db-1" // a server that is taken over

// attempt is one line of what the hostile program prints.
type attempt struct {
	What     string `json:"what"`
	Accepted bool   `json:"accepted"`
	Said     string `json:"said"`
}

func (w *world) attempts(t *testing.T, on *lab.Peer, env []string, args ...string) []attempt {
	t.Helper()
	c := on.Command(within(t, 3*time.Minute), "", append([]string{w.lab.Program("hostile")}, args...)...)
	c.Env = append(c.Env, env...)
	r := finish(c)
	if r.code != 0 {
		t.Fatalf("hostile %q: %s", args, r)
	}
	var all []attempt
	for line := range strings.Lines(r.out) {
		var a attempt
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, a)
	}
	if len(all) == 0 {
		t.Fatalf("hostile %q tried nothing: %s", args, r)
	}
	return all
}

var captured = regexp.MustCompile(`"certificate":"([^"]+)"`)

// A server that was taken over has what a person's ssh sends, and can do nothing with it anywhere.
func TestWhatAHostileServerCapturesIsWorthNothing(t *testing.T) {
	needsRoot(t)
	w := open(t, false, taken)
	ctx := within(t, 9*time.Minute)
	evil, err := w.mgmt.Enrol(ctx, taken, lab.Joining{Tags: []string{"tag:web"}, SSH: true})
	if err != nil {
		t.Fatal(err)
	}
	w.peers[taken] = evil
	if err := w.peers[laptop].Knows(ctx, taken); err != nil {
		t.Fatal(err)
	}
	honest, err := w.peers[web].Overlay(ctx)
	if err != nil {
		t.Fatal(err)
	}
	evilAddr, err := evil.Overlay(ctx)
	if err != nil {
		t.Fatal(err)
	}
	w.login("ann")

	// The administrator of the machine stops the service and serves what they like, with the machine's own keys.
	if err := evil.Daemon.Stop(); err != nil {
		t.Fatal(err)
	}
	hostile, err := evil.Start("hostile", "", w.lab.Program("hostile"), "serve")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hostile.Match(ctx, regexp.MustCompile(`"serving":true`)); err != nil {
		t.Fatal(err)
	}
	r := finish(w.peers[laptop].SSH(ctx, "ann", "ssh", w.as+"@"+taken+".lanyard.internal", "true"))
	if r.code != 0 || r.out != "welcome\n" {
		t.Fatalf("ann's ssh did not reach the hostile server: %s", r)
	}
	what, err := hostile.Match(ctx, captured)
	if err != nil {
		t.Fatal(err)
	}
	if err := hostile.Stop(); err != nil {
		t.Fatal(err)
	}
	cert := "/root/captured"
	if wire, err := base64.StdEncoding.DecodeString(what[1]); err != nil || !strings.Contains(string(wire), "id-token@lanyard") {
		t.Fatalf("what was captured holds no token (%v)", err)
	}
	for _, name := range []string{taken, desk} {
		if err := w.peers[name].Write(cert, "", 0o600, []byte(what[1]+"\n")); err != nil {
			t.Fatal(err)
		}
	}
	// For the positive controls only: ann's key, which never left her machine.
	keys, err := filepath.Glob(w.peers[laptop].Path("/home/ann/.ssh/lanyard-default-*-cert.pub"))
	if err != nil || len(keys) != 1 {
		t.Fatalf("ann's certificates: %q, %v", keys, err)
	}
	key := strings.TrimSuffix(keys[0], "-cert.pub")

	t.Run("at a second honest server", func(t *testing.T) {
		for _, a := range w.attempts(t, evil, []string{"KEY=" + w.forControl(t, evil, key)}, "replay", honest+":22", w.as, cert) {
			if !a.Accepted {
				t.Fatalf("with ann's own key the program should get in: %+v", a)
			}
		}
		w.refused(t, w.attempts(t, evil, nil, "replay", honest+":22", w.as, cert), map[string]string{
			"re-signed over the thief's key":                   "[key-mismatch]",
			"re-signed with another salt":                      "[key-mismatch]",
			"for the victim's key, signed by the thief's":      "[token-malformed]",
			"the token as fresh too":                           "[key-mismatch]",
			"the token as fresh only":                          "[token-missing]",
			"the victim's certificate itself, without its key": "",
			"the thief's bare key":                             "[token-missing]",
		})
	})
	t.Run("at the same server from another machine", func(t *testing.T) {
		if err := evil.StartDaemon(ctx); err != nil {
			t.Fatal(err)
		}
		if err := evil.Serves(ctx); err != nil {
			t.Fatal(err)
		}
		w := w.on(t)
		w.login("carol")
		if r := finish(w.peers[desk].SSH(ctx, "carol", "ssh", w.as+"@"+taken+".lanyard.internal", "echo in")); r.out != "in\n" {
			t.Fatalf("carol, as herself, should get in: %s", r)
		}
		if err := w.peers[desk].Run(ctx, "", w.lab.Program("hostile"), "forge", cert, "/tmp/forged"); err != nil {
			t.Fatal(err)
		}
		if err := w.peers[desk].Run(ctx, "", "chown", "carol", "/tmp/forged", "/tmp/forged-cert.pub"); err != nil {
			t.Fatal(err)
		}
		r := finish(w.peers[desk].SSH(ctx, "carol", "ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i", "/tmp/forged", "-o", "CertificateFile=/tmp/forged-cert.pub",
			"-o", "StrictHostKeyChecking=no", w.as+"@"+evilAddr, "true"))
		if r.code != 255 || !strings.Contains(r.err, "[key-mismatch]") {
			t.Errorf("a real ssh with the forgery: %s", r)
		}
	})
	t.Run("at the management server's API", func(t *testing.T) {
		for _, a := range w.attempts(t, evil, []string{"KEY=" + w.forControl(t, evil, key)}, "call", w.mgmt.Join, cert) {
			if !a.Accepted {
				t.Errorf("with ann's own key the program should be answered: %+v", a)
			}
		}
		all := w.attempts(t, evil, nil, "call", w.mgmt.Join, cert)
		if len(all) < 20 {
			t.Errorf("only %d calls were tried", len(all))
		}
		for _, a := range all {
			code := "not-logged-in"
			switch {
			case strings.Contains(a.What, "/api/admin/"):
				code = "401 "
			case strings.Contains(a.What, "thief"):
				code = "key-mismatch"
			}
			if a.Accepted || !strings.Contains(a.Said, code) {
				t.Errorf("want a refusal with %s: %+v", code, a)
			}
		}
	})
	t.Run("each refusal is in the audit log", func(t *testing.T) {
		if err := lab.Until(within(t, 60*time.Second), "the refusals", func() error {
			events, err := w.auditLog()
			if err != nil {
				return err
			}
			at := map[string]int{}
			for _, e := range events {
				if e.Type == "refused" && e.Reason == "key-mismatch" {
					at[e.Source]++
				}
			}
			if len(at) < 2 {
				return fmt.Errorf("key-mismatch was recorded from %d machines, want 2: %v", len(at), at)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
}

// forControl puts ann's key where the hostile program can read it.
func (w *world) forControl(t *testing.T, on *lab.Peer, key string) string {
	t.Helper()
	b, err := os.ReadFile(key)
	if err == nil {
		err = on.Write("/root/anns-own-key", "", 0o600, b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return "/root/anns-own-key"
}

func (w *world) refused(t *testing.T, all []attempt, want map[string]string) {
	t.Helper()
	for _, a := range all {
		said, ok := want[a.What]
		if !ok {
			t.Errorf("nobody said what should become of %+v", a)
		}
		if a.Accepted || !strings.Contains(a.Said, said) {
			t.Errorf("want a refusal with %s: %+v", said, a)
		}
		delete(want, a.What)
	}
	for what := range want {
		t.Errorf("%q was not tried", what)
	}
}
