package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Login is a key K that a person signed in with.
type Login struct {
	Thumbprint  string    `json:"thumbprint"`
	UserID      string    `json:"user_id"`
	Started     time.Time `json:"started"`   // the bound token's iat
	LastSeen    time.Time `json:"last_seen"` // when a proof by K was last seen
	NewestToken time.Time `json:"newest_token"`
	Revoked     time.Time `json:"revoked,omitzero"`
}

// Seen is what SawLogin found.
type Seen struct {
	New bool // the login was not known
	// Again: it had been withdrawn for its silence, and is good again.
	Again bool
}

// Leeway is how much later than now a token may be: its issuer has a clock of its own.
const Leeway = 2 * time.Minute

// SawLogin notes a proof by K with its newest token. A revoked login stays so. One that was withdrawn for its silence
// comes back with a token younger than the one that it was withdrawn for.
func (s *Queries) SawLogin(ctx context.Context, l Login) (seen Seen, err error) {
	r, err := s.q.ExecContext(ctx, `INSERT INTO logins(thumbprint, user_id, started, last_seen, newest_token) VALUES(?,?,?,?,?)
		ON CONFLICT DO NOTHING`, l.Thumbprint, l.UserID, ms(l.Started), ms(s.now()), ms(l.NewestToken))
	if err != nil {
		return seen, err
	}
	if n, err := r.RowsAffected(); err != nil {
		return seen, err
	} else if n > 0 {
		r, err := s.q.ExecContext(ctx, `DELETE FROM unreported WHERE thumbprint = ?`, l.Thumbprint)
		if err != nil {
			return seen, err
		}
		n, err := r.RowsAffected()
		return Seen{New: true, Again: n > 0}, err
	}
	var silent int64
	err = s.q.QueryRowContext(ctx, `SELECT silent FROM logins WHERE thumbprint = ? AND user_id = ?`, l.Thumbprint, l.UserID).Scan(&silent)
	if err != nil {
		return seen, notFound(err)
	}
	seen.Again = silent > 0 && ms(l.NewestToken) > silent
	if seen.Again {
		silent = 0
	}
	// A newest token of later than now was seen while the clock was wrong, and would be the newest for as long.
	return seen, one(s.q.ExecContext(ctx, `UPDATE logins SET last_seen = ?, newest_token = MAX(CASE WHEN newest_token > ? THEN 0 ELSE newest_token END, ?),
		silent = ? WHERE thumbprint = ? AND user_id = ?`,
		ms(s.now()), ms(s.now().Add(Leeway)), ms(l.NewestToken), silent, l.Thumbprint, l.UserID))
}

// HeardOf is when a login was last heard of.
type HeardOf struct {
	Thumbprint string
	Newest     time.Time // of the newest token that was seen; when a machine told of the login, for one that never reported
	Silent     time.Time // of the newest token when it was withdrawn for its silence; zero: it is not
}

// HeardOf lists the logins begun after since that were not ended: how long ago each was heard of.
func (s *Queries) HeardOf(ctx context.Context, since time.Time) ([]HeardOf, error) {
	rows, err := s.q.QueryContext(ctx, `SELECT thumbprint, newest_token, silent FROM logins WHERE revoked = 0 AND started > ?
		UNION ALL SELECT thumbprint, since, silent FROM unreported WHERE since > ? ORDER BY 1`, ms(since), ms(since))
	return collect(rows, err, func(r interface{ Scan(...any) error }) (h HeardOf, err error) {
		var newest, silent int64
		err = r.Scan(&h.Thumbprint, &newest, &silent)
		h.Newest, h.Silent = fromMS(newest), fromMS(silent)
		return h, err
	})
}

// HeardNoLater takes back that a login was heard of later than at: a clock was wrong then.
func (s *Queries) HeardNoLater(ctx context.Context, thumbprint string, at time.Time) error {
	for _, query := range []string{
		`UPDATE logins SET newest_token = MIN(newest_token, ?) WHERE thumbprint = ?`, `UPDATE unreported SET since = MIN(since, ?) WHERE thumbprint = ?`,
	} {
		if _, err := s.q.ExecContext(ctx, query, ms(at), thumbprint); err != nil {
			return err
		}
	}
	return nil
}

// FellSilent notes that a login was withdrawn for its silence since then.
func (s *Queries) FellSilent(ctx context.Context, thumbprint string, since time.Time) error {
	for _, table := range []string{"logins", "unreported"} { // names of ours
		if _, err := s.q.ExecContext(ctx, `UPDATE `+table+` SET silent = ? WHERE thumbprint = ? AND silent = 0`, ms(since), thumbprint); err != nil {
			return err
		}
	}
	return nil
}

// MaxUnreported is how many logins that never reported one machine may tell of: they go into the maps of all.
const MaxUnreported = 1000

// Unreported notes a login that the machine peer has a session of, unless it reported or is noted already, or peer told of
// too many.
func (s *Queries) Unreported(ctx context.Context, peer, thumbprint string, since time.Time) error {
	_, err := s.q.ExecContext(ctx, `INSERT INTO unreported(thumbprint, since, peer) SELECT ?, ?, ?
		WHERE NOT EXISTS (SELECT 1 FROM logins WHERE thumbprint = ?) AND (SELECT COUNT(*) FROM unreported WHERE peer = ?) < ?
		ON CONFLICT DO NOTHING`, thumbprint, ms(since), peer, thumbprint, peer, MaxUnreported)
	return err
}

// RevokeLogin ends one login of a person.
func (s *Queries) RevokeLogin(ctx context.Context, thumbprint, userID string) error {
	return one(s.q.ExecContext(ctx, `UPDATE logins SET revoked = ? WHERE thumbprint = ? AND user_id = ?`, ms(s.now()), thumbprint, userID))
}

// RevokeLogins ends every login of a person.
func (s *Queries) RevokeLogins(ctx context.Context, userID string) error {
	_, err := s.q.ExecContext(ctx, `UPDATE logins SET revoked = ? WHERE user_id = ? AND revoked = 0`, ms(s.now()), userID)
	return err
}

// RevokedKeys lists the thumbprints of logins that were ended and whose bound token, begun after since, could
// otherwise still stand, and those of lost machines. Those of blocked people are left out: a machine refuses them for the
// better reason.
func (s *Queries) RevokedKeys(ctx context.Context, since time.Time) ([]string, error) {
	rows, err := s.q.QueryContext(ctx, `SELECT thumbprint FROM logins JOIN users ON users.id = user_id
		WHERE revoked > 0 AND started > ? AND blocked = 0
		UNION SELECT thumbprint FROM origins WHERE revoked > 0
			AND NOT EXISTS (SELECT 1 FROM logins l JOIN users u ON u.id = l.user_id WHERE l.thumbprint = origins.thumbprint AND u.blocked > 0)
		ORDER BY 1`, ms(since))
	return collect(rows, err, func(r interface{ Scan(...any) error }) (t string, err error) { return t, r.Scan(&t) })
}

// UseOnce stores the id of a proof until it expires. It reports false when the id was used before.
func (s *Queries) UseOnce(ctx context.Context, jti string, expires time.Time) (bool, error) {
	r, err := s.q.ExecContext(ctx, `INSERT INTO used(jti, expires) VALUES(?,?) ON CONFLICT DO NOTHING`, jti, ms(expires))
	if err != nil {
		return false, err
	}
	n, err := r.RowsAffected()
	return n > 0, err
}

// Sweep forgets what has expired: proofs, login flows, logins and keys older than a login can be. passed is how long ago
// the last Sweep was, by a clock that nobody sets: what was ended, and where keys lie, is forgotten by that, and at most
// twice as fast, as it is kept for twice as long as needed. Else a clock that is wrong for a while, by years, would have it
// forgotten at once, and a login that was ended would be good again when the clock is right.
func (s *Store) Sweep(ctx context.Context, loginLifetime, passed time.Duration) error {
	return s.Tx(ctx, func(q *Queries) error {
		at, err := q.sweepTime(ctx, passed)
		if err != nil {
			return err
		}
		return q.sweep(ctx, loginLifetime, at)
	})
}

// sweepTime is the time by which Sweep forgets what was ended. It is never later than now; what was reached is kept.
func (s *Queries) sweepTime(ctx context.Context, passed time.Duration) (time.Time, error) {
	const key = "swept"
	var last time.Time
	at := s.now().UTC()
	b, err := s.setting(ctx, key)
	switch {
	case errors.Is(err, ErrNotFound):
	case err != nil:
		return at, err
	default:
		if err := json.Unmarshal(b, &last); err != nil {
			return at, err
		}
		if most := last.Add(2 * passed); most.Before(at) {
			at = most
		}
	}
	if !at.After(last) { // the clock was set back
		return at, nil
	}
	return at, s.putSetting(ctx, key, []byte(text(at)))
}

func (s *Queries) sweep(ctx context.Context, loginLifetime time.Duration, at time.Time) error {
	now := ms(s.now())
	old, ended := ms(s.now().Add(-2*loginLifetime)), ms(at.Add(-2*loginLifetime))
	for _, d := range []struct {
		query string
		arg   int64
	}{
		{`DELETE FROM used WHERE expires < ?`, now},
		{`DELETE FROM flows WHERE expires < ?`, now},
		{`DELETE FROM logins WHERE started < ? AND revoked = 0`, old},
		{`DELETE FROM logins WHERE started < ? AND revoked > 0`, ended},
		{`DELETE FROM origins WHERE begun < ? AND revoked = 0`, ended},
		{`DELETE FROM origins WHERE revoked > 0 AND revoked < ?`, ms(at.Add(-lostRests))},
		{`DELETE FROM unreported WHERE since < ?`, old},
		// Measured from when the issuer last answered: while it is down its keys are kept.
		{
			`DELETE FROM issuer_keys WHERE last_seen + ? < (SELECT MAX(k.last_seen) FROM issuer_keys k WHERE k.issuer = issuer_keys.issuer)`,
			2 * loginLifetime.Milliseconds(),
		},
		{`DELETE FROM known WHERE last < ?`, ms(s.now().Add(-knownLife))},
	} {
		if _, err := s.q.ExecContext(ctx, d.query, d.arg); err != nil {
			return err
		}
	}
	return nil
}
