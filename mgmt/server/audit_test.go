package server_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
)

// tell sends an event of size bytes and more, and returns its id.
func (m *machine) tell(size int) string {
	m.t.Helper()
	ev := audit.Event{ID: api.NewEventID(time.Now()), Time: time.Now().UTC(), Type: audit.FileOp, Detail: strings.Repeat("x", size)}
	line, _ := json.Marshal(ev)
	if err := m.stream.Send(m.t.Context(), api.Up{Audit: []json.RawMessage{line}}); err != nil {
		m.t.Fatal(err)
	}
	return ev.ID
}

func (m *machine) acknowledged(id string) {
	m.t.Helper()
	select {
	case ids := <-m.acks:
		if !slices.Equal(ids, []string{id}) {
			m.t.Fatalf("%s: acknowledged %v, want %s", m.request.Name, ids, id)
		}
	case <-time.After(time.Minute):
		m.t.Fatalf("%s: no acknowledgement", m.request.Name)
	}
}

// recorded lists the ids of the events that are stored.
func (n *network) recorded() (ids []string) {
	n.t.Helper()
	var events []audit.Event
	n.admin("GET", "/api/admin/audit", nil, &events)
	for _, e := range events {
		ids = append(ids, e.ID)
	}
	return ids
}

// A machine that floods the audit log waits for its turn. It hears of blocks all the same, and nobody else waits.
func TestMachineThatFloodsTheAuditLogWaits(t *testing.T) {
	n := start(t)
	n.server.LimitAudit(10_000, time.Second) // what is more is for hours
	n.user("ann@example.org")
	web, db := n.enrolled("web-1", true, "tag:web").follow(nil), n.enrolled("db-1", true, "tag:web").follow(nil)
	n.policy("web", "user:ann@example.org", "tag:web", "deploy")
	web.acknowledged(web.tell(100))

	much := web.tell(20_000)
	var effect api.Effect
	n.admin("POST", "/api/admin/users/ann@example.org/block", nil, &effect)
	if !slices.Contains(effect.Reached, "web-1") {
		t.Errorf("a machine that has much to tell does not acknowledge a block: %+v", effect)
	}
	select {
	case ids := <-web.acks:
		t.Errorf("acknowledged at once: %v", ids)
	default:
	}

	more := web.tell(100) // without waiting
	db.acknowledged(db.tell(100))
	web.stream.Close()
	web.follow(nil)
	again := web.tell(100)
	db.acknowledged(db.tell(100))
	ids := n.recorded()
	if !slices.Contains(ids, much) {
		t.Error("what was told is not stored")
	}
	if slices.Contains(ids, more) || slices.Contains(ids, again) {
		t.Error("who does not wait is stored all the same")
	}
}

func TestMachineWithMuchToTellLosesNothing(t *testing.T) {
	n := start(t)
	n.server.LimitAudit(10_000, 20*time.Microsecond)
	m := n.enrolled("web-1", true).follow(nil)
	began := time.Now()
	var told []string
	for range 8 {
		id := m.tell(10_000)
		m.acknowledged(id)
		told = append(told, id)
	}
	if took := time.Since(began); took < 70_000*20*time.Microsecond {
		t.Errorf("80 kB took %s", took)
	}
	ids := n.recorded()
	for _, id := range told {
		if !slices.Contains(ids, id) {
			t.Errorf("%s is lost", id)
		}
	}
}
