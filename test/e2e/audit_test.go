//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"lanyard/mgmt/api/audit"
	"lanyard/test/lab"
)

func (w *world) auditLog(flags ...string) ([]audit.Event, error) {
	out, err := w.mgmt.Admin(within(w.t, 60*time.Second), append([]string{"audit", "--json"}, flags...)...)
	if err != nil {
		return nil, err
	}
	var events []audit.Event
	for line := range strings.Lines(out) {
		var e audit.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			return nil, fmt.Errorf("audit line %q: %w", line, err)
		}
		events = append(events, e)
	}
	return events, nil
}

// Every session's start and end arrives once, also those from while the management server was away.
func TestAuditHoldsEverySessionOnce(t *testing.T) {
	w := open(t, true)
	w.login("ann")
	const before, during = 3, 3
	for i := range before {
		if r := w.ssh("ann", fmt.Sprintf("exit %d", i)); r.code != i {
			t.Fatal(r)
		}
	}
	ended := func(want int) func() error {
		return func() error {
			events, err := w.auditLog()
			if n := count(events, audit.SessionEnd); err == nil && n < want {
				err = fmt.Errorf("%d ends of sessions have arrived, want %d", n, want)
			}
			return err
		}
	}
	ctx := within(t, 3*time.Minute)
	if err := lab.Until(ctx, "the first audit events", ended(before)); err != nil {
		t.Fatal(err)
	}
	w.mgmt.Process.Kill()
	for i := range during {
		if r := w.ssh("ann", fmt.Sprintf("exit %d", 10+i)); r.code != 10+i {
			t.Fatal(r)
		}
	}
	// ssh is done a moment before its connection is: only what was recorded can be asked for after the kill.
	const each = 4 // starts and ends of session and channel
	if err := lab.Until(ctx, "the events to lie on disk", func() error {
		st, err := w.peers[web].Status(ctx)
		if err == nil && st.Audit.Pending < during*each {
			err = fmt.Errorf("there are %d, want %d", st.Audit.Pending, during*each)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	w.peers[web].Daemon.Kill() // with events on disk only
	if err := w.peers[web].StartDaemon(ctx); err != nil {
		t.Fatal(err)
	}
	if err := w.mgmt.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := lab.Until(ctx, "the audit events", ended(before+during)); err != nil {
		t.Fatal(err)
	}
	events, err := w.auditLog()
	if err != nil {
		t.Fatal(err)
	}
	ids, starts, ends := map[string]bool{}, map[string]int{}, map[string]int{}
	for _, e := range events {
		if e.ID == "" || ids[e.ID] {
			t.Errorf("the id %q of %+v is empty or there twice", e.ID, e)
		}
		ids[e.ID] = true
		switch e.Type {
		case audit.SessionStart:
			starts[e.Session]++
			if e.User == "" || e.Source == "" || e.LocalUser != w.as || e.Rule == "" {
				t.Errorf("a session's start lacks who, from where, as whom or by which rule: %+v", e)
			}
		case audit.SessionEnd:
			ends[e.Session]++
		}
	}
	if len(starts) != before+during || len(ends) != before+during {
		t.Errorf("%d sessions started and %d ended in the log, want %d", len(starts), len(ends), before+during)
	}
	for id, n := range starts {
		if n != 1 || ends[id] != 1 {
			t.Errorf("session %s started %d times and ended %d times in the log", id, n, ends[id])
		}
	}
}

func count(events []audit.Event, t audit.Type) (n int) {
	for _, e := range events {
		if e.Type == t {
			n++
		}
	}
	return n
}
