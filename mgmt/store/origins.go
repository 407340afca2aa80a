package store

import (
	"context"
	"time"
)

// Origin is where a login's key was made.
type Origin struct {
	Thumbprint string
	Nonce      string // of its tokens
	PeerID     string
}

// lostRests is how long the key of a lost machine stays refused. It may be refreshed where another provider's refresh
// token lies beside it, and then looks like that of a new sign-in.
const lostRests = 365 * 24 * time.Hour

// AddOrigin notes where a login's key was made. The first who says so is right: nobody else knows the key before. On a
// machine that was removed at that moment it is lost from the start.
func (s *Queries) AddOrigin(ctx context.Context, o Origin) error {
	_, err := s.q.ExecContext(ctx, `INSERT INTO origins(thumbprint, nonce, peer_id, begun, revoked)
		VALUES(?, ?, ?, ?, COALESCE((SELECT removed FROM peers WHERE id = ?), 0)) ON CONFLICT DO NOTHING`,
		o.Thumbprint, o.Nonce, o.PeerID, ms(s.now()), o.PeerID)
	return err
}

// LostLogin is a login that ended with its machine.
type LostLogin struct {
	Thumbprint string    `json:"key"`
	User       string    `json:"user,omitempty"` // email address, or id
	Started    time.Time `json:"started"`
}

// RevokeLoginsOf ends the logins whose keys lie on a machine, those too that never reported, and lists the others. Of
// its owner's it ends those too of which nobody said where they lie.
func (s *Queries) RevokeLoginsOf(ctx context.Context, p Peer) ([]LostLogin, error) {
	rows, err := s.q.QueryContext(ctx, `SELECT l.thumbprint, COALESCE(NULLIF(u.email, ''), u.id), l.started
		FROM logins l JOIN users u ON u.id = l.user_id LEFT JOIN origins o ON o.thumbprint = l.thumbprint
		WHERE l.revoked = 0 AND (o.peer_id = ? OR o.peer_id IS NULL AND l.user_id = ?) ORDER BY 2, 1`, p.ID, p.OwnerID)
	all, err := collect(rows, err, func(r interface{ Scan(...any) error }) (l LostLogin, err error) {
		var started int64
		err = r.Scan(&l.Thumbprint, &l.User, &started)
		l.Started = fromMS(started)
		return l, err
	})
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		if _, err := s.q.ExecContext(ctx, `UPDATE logins SET revoked = ? WHERE thumbprint = ?`, ms(s.now()), l.Thumbprint); err != nil {
			return nil, err
		}
	}
	_, err = s.q.ExecContext(ctx, `UPDATE origins SET revoked = ? WHERE peer_id = ? AND revoked = 0`, ms(s.now()), p.ID)
	return all, err
}

// Lost reports whether a nonce is that of a login which ended with its machine.
func (s *Queries) Lost(ctx context.Context, nonce string) (bool, error) {
	var n int
	err := s.q.QueryRowContext(ctx, `SELECT COUNT(*) FROM origins WHERE nonce = ? AND revoked > 0`, nonce).Scan(&n)
	return n > 0, err
}
