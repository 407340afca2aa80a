package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"lanyard/mgmt/api"
)

// Kind says where a sign-in's browser is.
type Kind string

// Kinds of a sign-in. For those with a code, a person types it on whatever device.
const (
	KindBrowser Kind = ""        // on the machine that asks, which catches the answer on loopback
	KindDevice  Kind = "device"  // elsewhere: the machine polls
	KindSession Kind = "session" // for one SSH session, which a server peer polls for
)

// MaxTries is how often a code may be typed, right or wrong (RFC 8628 §5.1).
const MaxTries = 5

// knownLife is how long a place from which somebody signed in stays known.
const knownLife = 180 * 24 * time.Hour

// Flow is a sign-in that was pushed and waits for its person.
type Flow struct {
	ID        string
	Kind      Kind
	Start     api.LoginStart    // session: Account and MachineName are the SSH session's
	Session   *api.SessionStart `json:",omitempty"`
	Peer      string            // id of the enrolled peer that asks, empty when the machine is not enrolled
	Nonce     string
	ShortCode string
	// Secret hashes the device code; Verifier is the provider's own for PKCE, where it runs the flow itself.
	Secret   []byte `json:",omitempty"`
	Verifier string `json:",omitempty"`
	Expires  time.Time

	Browser []byte `json:"-"` // hash of the cookie of the browser that continued
	AuthReq string `json:"-"` // dex's request
	Handle  string `json:"-"` // of a typed code
	Tries   int    `json:"-"`
	Code    string `json:"-"` // dex's authorization code and its person's subject, or "!" and why there is none
}

const flowColumns = `body, browser, auth_req, handle, tries, code`

func scanFlow(r interface{ Scan(...any) error }) (f Flow, err error) {
	var body, browser []byte
	var authReq, handle, code string
	var tries int
	if err := r.Scan(&body, &browser, &authReq, &handle, &tries, &code); err != nil {
		return f, notFound(err)
	}
	if err := json.Unmarshal(body, &f); err != nil {
		return f, fmt.Errorf("read a sign-in: %w", err)
	}
	f.Browser, f.AuthReq, f.Handle, f.Tries, f.Code = browser, authReq, handle, tries, code
	return f, nil
}

// AddFlow stores a pushed sign-in. One of the same handle that is still there is ErrExists.
func (s *Queries) AddFlow(ctx context.Context, f Flow) error {
	peer := ""
	if f.Handle != "" {
		peer = f.Peer
	}
	r, err := s.q.ExecContext(ctx, `INSERT INTO flows(id, body, expires, handle, peer) VALUES(?,?,?,?,?) ON CONFLICT DO NOTHING`,
		f.ID, text(f), ms(f.Expires), f.Handle, peer)
	if err != nil {
		return err
	}
	if n, err := r.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return ErrExists
}

// Flow finds a pushed sign-in that is not expired.
func (s *Queries) Flow(ctx context.Context, id string) (Flow, error) {
	return s.flow(ctx, `id = ?`, id)
}

// FlowByAuthReq finds the pushed sign-in behind a request of dex.
func (s *Queries) FlowByAuthReq(ctx context.Context, id string) (Flow, error) {
	return s.flow(ctx, `auth_req <> '' AND auth_req = ?`, id)
}

func (s *Queries) flow(ctx context.Context, where, id string) (Flow, error) {
	return scanFlow(s.q.QueryRowContext(ctx, `SELECT `+flowColumns+` FROM flows WHERE `+where+` AND expires > ?`, id, ms(s.now())))
}

// WaitingCodes counts the codes that a machine waits for.
func (s *Queries) WaitingCodes(ctx context.Context, peer string) (n int, err error) {
	return n, s.q.QueryRowContext(ctx, `SELECT COUNT(*) FROM flows WHERE peer <> '' AND peer = ? AND expires > ?`, peer, ms(s.now())).Scan(&n)
}

// TypeCode finds the sign-in of a code's handle and counts the try. After MaxTries it is not found any more, nor once a
// browser has gone on with it.
func (s *Queries) TypeCode(ctx context.Context, handle string) (Flow, error) {
	return scanFlow(s.q.QueryRowContext(ctx, `UPDATE flows SET tries = tries + 1
		WHERE handle <> '' AND handle = ? AND tries < ? AND length(browser) = 0 AND expires > ? RETURNING `+flowColumns,
		handle, MaxTries, ms(s.now())))
}

// ContinueFlow ties a pushed sign-in to the browser that continued it, once.
func (s *Queries) ContinueFlow(ctx context.Context, id string, browser []byte) error {
	return one(s.q.ExecContext(ctx, `UPDATE flows SET browser = ? WHERE id = ? AND length(browser) = 0 AND expires > ?`,
		browser, id, ms(s.now())))
}

// BindFlow notes dex's request for a pushed sign-in.
func (s *Queries) BindFlow(ctx context.Context, id, authReq string) error {
	return one(s.q.ExecContext(ctx, `UPDATE flows SET auth_req = ? WHERE id = ? AND auth_req = ''`, authReq, id))
}

// FinishFlow notes how the browser's part of a sign-in with a code ended, once.
func (s *Queries) FinishFlow(ctx context.Context, id, code string) error {
	return one(s.q.ExecContext(ctx, `UPDATE flows SET code = ? WHERE id = ? AND handle <> '' AND code = '' AND expires > ?`, code, id, ms(s.now())))
}

// TakeFlow removes a sign-in, and reports ErrNotFound to all but the first.
func (s *Queries) TakeFlow(ctx context.Context, id string) error {
	return one(s.q.ExecContext(ctx, `DELETE FROM flows WHERE id = ?`, id))
}

// NoteKnown notes that somebody has given their password in a sign-in that asker began.
func (s *Queries) NoteKnown(ctx context.Context, account, asker string) error {
	_, err := s.q.ExecContext(ctx, `INSERT INTO known(account, asker, last) VALUES(?,?,?) ON CONFLICT(account, asker) DO UPDATE SET last = excluded.last`,
		account, asker, ms(s.now()))
	return err
}

// Known reports whether they did.
func (s *Queries) Known(ctx context.Context, account, asker string) (bool, error) {
	var n int
	err := s.q.QueryRowContext(ctx, `SELECT COUNT(*) FROM known WHERE account = ? AND asker = ?`, account, asker).Scan(&n)
	return n > 0, err
}
