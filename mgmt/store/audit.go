package store

import (
	"context"
	"encoding/json"
	"fmt"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
)

// AddAudit stores an event once; ID and Time are set when empty. An event whose id is known changes nothing.
func (s *Queries) AddAudit(ctx context.Context, ev *audit.Event) error {
	if ev.Time.IsZero() {
		ev.Time = s.now().UTC()
	}
	if ev.ID == "" {
		ev.ID = api.NewEventID(ev.Time)
	}
	_, err := s.q.ExecContext(ctx, `INSERT INTO audit(id, time, type, peer, body) VALUES(?,?,?,?,?) ON CONFLICT(id) DO NOTHING`,
		ev.ID, ms(ev.Time), ev.Type, ev.Peer, text(ev))
	if err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	return nil
}

// Recorded is an audit event and its place in the order of arrival.
type Recorded struct {
	Seq int64 `json:"seq"`
	audit.Event
}

// Audit lists up to limit events that arrived after seq, oldest first. A negative seq asks for the newest ones.
func (s *Queries) Audit(ctx context.Context, seq int64, limit int) ([]Recorded, error) {
	query := `SELECT seq, body FROM audit WHERE seq > ? ORDER BY seq LIMIT ?`
	if seq < 0 {
		query = `SELECT seq, body FROM (SELECT seq, body FROM audit WHERE seq > ? ORDER BY seq DESC LIMIT ?) ORDER BY seq`
	}
	rows, err := s.q.QueryContext(ctx, query, seq, limit)
	return collect(rows, err, func(r interface{ Scan(...any) error }) (e Recorded, err error) {
		var body []byte
		if err := r.Scan(&e.Seq, &body); err != nil {
			return e, err
		}
		return e, json.Unmarshal(body, &e.Event)
	})
}
