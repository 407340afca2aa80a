//go:build linux

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lanyard/mgmt/api/audit"
	"lanyard/service/spool"
	"lanyard/test/lab"
)

const spoolDir = "/var/lib/lanyard/default/spool"

// eventually tries until a command's output is as wanted.
func (w *world) eventually(person, want string, args ...string) {
	w.t.Helper()
	var last result
	if err := lab.Until(within(w.t, 90*time.Second), "ssh", func() error {
		if last = w.ssh(person, args...); last.out != want {
			return errors.New(last.String())
		}
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
}

// A server that lost its power comes back without anybody, also while the management server is dead: with the same
// people, and without those who were blocked.
func TestRebootWithTheManagementServerDead(t *testing.T) {
	needsRoot(t)
	w := open(t, false)
	ctx := within(t, 9*time.Minute)
	t.Run("others see who is on, and who is not", func(t *testing.T) {
		w := w.on(t)
		w.sees("online")
		w.peers[web].Daemon.Kill()
		w.sees("offline")
		if err := w.peers[web].StartDaemon(ctx); err != nil {
			t.Fatal(err)
		}
		w.sees("online")
		if err := w.peers[web].Serves(ctx); err != nil {
			t.Fatal(err)
		}
	})
	w.login("ann")
	w.login("carol")
	for _, person := range []string{"ann", "carol"} {
		if r := w.ssh(person, "echo in"); r.out != "in\n" {
			t.Fatal(r)
		}
	}
	w.admin("user", "block", people["carol"].Email)
	w.mgmt.Process.Kill()
	w.sees("unknown")
	if err := w.lab.Reboot(ctx, web, "var/lib/lanyard"); err != nil {
		t.Fatal(err)
	}
	if err := w.peers[web].StartDaemon(ctx); err != nil {
		t.Fatal(err)
	}
	if err := w.peers[web].Serves(ctx); err != nil {
		t.Fatal(err)
	}
	w.eventually("ann", "still here\n", "echo still here")
	if r := w.ssh("carol", "true"); r.code != 255 || !strings.Contains(r.err, "[blocked]") {
		t.Errorf("carol, who was blocked before the outage: %s", r)
	}
	if out, err := w.peers[web].Lanyard(ctx, "", "status"); err != nil || !strings.Contains(out, "management server does not answer") {
		t.Errorf("status does not say that the management server is away: %v\n%s", err, out)
	}
	if err := w.mgmt.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := lab.Until(within(t, 2*time.Minute), "the server to be back in touch", func() error {
		st, err := w.peers[web].Status(ctx)
		if err == nil && (st.State != "connected" || st.Audit.Pending > 0) {
			err = fmt.Errorf("%s, %d events wait", st.State, st.Audit.Pending)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	w.sees("online")
}

// kills is how often one side or the other is killed.
const kills = 20

// Whatever is killed whenever: what the server peer recorded and what the management server has are the same events,
// each once, in an unbroken chain, and every session and channel that began has ended.
func TestKillsLoseNoAuditEvent(t *testing.T) {
	needsRoot(t)
	w := open(t, false)
	w.login("ann")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))
	ctx := within(t, 12*time.Minute)
	for i := range kills {
		s := w.open("ann") // and commands beside it, at the moment of the kill
		q, err := w.peers[laptop].Start(fmt.Sprintf("short-%d", i), "ann", "bash", "-c",
			fmt.Sprintf("while :; do timeout 5 ssh -o ConnectTimeout=2 %s 'echo in' || sleep 0.1; done", w.target))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(dice.IntN(400)) * time.Millisecond) // the random moment
		if i%2 == 0 {
			w.peers[web].Daemon.Kill()
			if err := w.peers[web].StartDaemon(ctx); err != nil {
				t.Fatal(err)
			}
		} else {
			w.mgmt.Process.Kill()
			if err := w.mgmt.Start(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(q.Stop(), s.Stop()); err != nil {
			t.Fatal(err)
		}
		if err := w.peers[web].Serves(ctx); err != nil {
			t.Fatal(err)
		}
		w.eventually("ann", "again\n", "echo again")
	}
	if err := w.peers[web].Serves(ctx); err != nil {
		t.Fatal(err)
	}
	w.eventually("ann", "at last\n", "echo at last")
	var sent, got []audit.Event
	if err := lab.Until(within(t, 3*time.Minute), "the same events at both ends", func() (err error) {
		if sent, err = spooled(w.peers[web]); err != nil {
			return err
		}
		all, err := w.auditLog("-n", "0")
		if err != nil {
			return err
		}
		got = slices.DeleteFunc(all, func(e audit.Event) bool { return e.Prev == "" && e.Type != audit.SessionStart })
		if err := same(sent, got); err != nil {
			return err
		}
		return balanced(got)
	}); err != nil {
		t.Fatal(err)
	}
	interrupted := 0
	for _, e := range got {
		if e.Reason == "interrupted" && e.Type == audit.SessionEnd {
			interrupted++
		}
	}
	t.Logf("%d events, %d sessions ended by a kill", len(got), interrupted)
	if interrupted == 0 {
		t.Error("no session was open at a kill: the test tried nothing")
	}
	until(t, "the spool's chain", func() error { // an ssh of the last turn may have come a moment ago
		r, err := spool.Verify(w.peers[web].Path(spoolDir))
		if err != nil || r.Broken != "" {
			t.Fatalf("the spool's chain: %+v, %v", r, err)
		}
		if sent, err = spooled(w.peers[web]); err == nil && r.Events != len(sent) {
			err = fmt.Errorf("%d events, want %d", r.Events, len(sent))
		}
		return err
	})
	if out := w.admin("audit", "verify"); !strings.Contains(out, "each where its machine put it") {
		t.Errorf("the management server's chain: %s", out)
	}
}

// spooled reads what lies in a peer's spool, delivered or not.
func spooled(p *lab.Peer) (all []audit.Event, err error) {
	files, err := filepath.Glob(p.Path(spoolDir + "/*.jsonl"))
	slices.Sort(files)
	for _, f := range files {
		b, rerr := os.ReadFile(f)
		err = errors.Join(err, rerr)
		for line := range strings.Lines(string(b)) {
			var e audit.Event
			err = errors.Join(err, json.Unmarshal([]byte(line), &e))
			all = append(all, e)
		}
	}
	return all, err
}

func same(sent, got []audit.Event) error {
	ids := map[string]int{}
	for _, e := range sent {
		ids[e.ID]++
	}
	for _, e := range got {
		ids[e.ID] += 1000
	}
	for id, n := range ids {
		if n != 1001 {
			return fmt.Errorf("event %s was recorded %d times and stored %d times; %d and %d events in all", id, n%1000, n/1000, len(sent), len(got))
		}
	}
	if len(sent) == 0 {
		return errors.New("there are no events")
	}
	return nil
}

// balanced checks that what began has ended, once.
func balanced(events []audit.Event) error {
	count := map[string]int{}
	for _, e := range events {
		switch e.Type {
		case audit.SessionStart, audit.ChannelStart:
			count[e.Session+"/"+e.Channel] += 1
		case audit.SessionEnd, audit.ChannelEnd:
			count[e.Session+"/"+e.Channel] += 1000
		}
	}
	for _, key := range slices.Sorted(maps.Keys(count)) {
		if n := count[key]; n != 1001 {
			return fmt.Errorf("%s began %d times and ended %d times", key, n%1000, n/1000)
		}
	}
	return nil
}

// contains checks that all holds every event of sent, once.
func contains(all, sent []audit.Event) error {
	ids := map[string]bool{}
	for _, e := range sent {
		ids[e.ID] = true
	}
	return same(sent, slices.DeleteFunc(slices.Clone(all), func(e audit.Event) bool { return !ids[e.ID] }))
}
