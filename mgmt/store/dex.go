package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/dexidp/dex/storage"
)

// Dex is the embedded provider's storage: every object is one JSON row of the table dex(kind, id, exp, body).
type Dex struct{ db *sql.DB }

var _ storage.Storage = (*Dex)(nil)

// Dex returns the embedded provider's storage. It lives as long as the store.
func (s *Store) Dex() *Dex { return &Dex{db: s.db} }

// Close does nothing: the store owns the database.
func (s *Dex) Close() error { return nil }

func nano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func create[T any](ctx context.Context, s *Dex, kind, id string, exp time.Time, v T) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	r, err := s.db.ExecContext(ctx, `INSERT INTO dex(kind,id,exp,body) VALUES(?,?,?,?) ON CONFLICT DO NOTHING`, kind, id, nano(exp), b)
	if err != nil {
		return err
	}
	if n, _ := r.RowsAffected(); n == 0 {
		return storage.ErrAlreadyExists
	}
	return nil
}

type rowQuerier interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}

func get[T any](ctx context.Context, db rowQuerier, kind, id string) (v T, err error) {
	var b []byte
	if err = db.QueryRowContext(ctx, `SELECT body FROM dex WHERE kind=? AND id=?`, kind, id).Scan(&b); err != nil {
		if errors.Is(err, sql.ErrNoRows) {
			err = storage.ErrNotFound
		}
		return
	}
	err = json.Unmarshal(b, &v)
	return
}

func list[T any](ctx context.Context, s *Dex, kind string) (out []T, err error) {
	rows, err := s.db.QueryContext(ctx, `SELECT body FROM dex WHERE kind=? ORDER BY id`, kind)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var b []byte
		var v T
		if err = rows.Scan(&b); err != nil {
			return nil, err
		}
		if err = json.Unmarshal(b, &v); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

func del(ctx context.Context, s *Dex, kind, id string) error {
	r, err := s.db.ExecContext(ctx, `DELETE FROM dex WHERE kind=? AND id=?`, kind, id)
	if err != nil {
		return err
	}
	if n, _ := r.RowsAffected(); n == 0 {
		return storage.ErrNotFound
	}
	return nil
}

func update[T any](ctx context.Context, s *Dex, kind, id string, exp func(T) time.Time, f func(T) (T, error)) error {
	c, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err = c.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	done := false
	defer func() {
		if !done {
			_, _ = c.ExecContext(context.WithoutCancel(ctx), "ROLLBACK") // the error that led here counts
		}
	}()
	old, err := get[T](ctx, c, kind, id)
	if err != nil {
		return err
	}
	nw, err := f(old)
	if err != nil {
		return err
	}
	b, err := json.Marshal(nw)
	if err != nil {
		return err
	}
	var e int64
	if exp != nil {
		e = nano(exp(nw))
	}
	if _, err = c.ExecContext(ctx, `UPDATE dex SET body=?, exp=? WHERE kind=? AND id=?`, b, e, kind, id); err != nil {
		return err
	}
	_, err = c.ExecContext(ctx, "COMMIT")
	done = err == nil
	return err
}

func (s *Dex) GarbageCollect(ctx context.Context, now time.Time) (r storage.GCResult, err error) {
	n := func(kind string) int64 {
		x, e := s.db.ExecContext(ctx, `DELETE FROM dex WHERE kind=? AND exp>0 AND exp<?`, kind, now.UnixNano())
		if e != nil {
			err = e
			return 0
		}
		k, _ := x.RowsAffected()
		return k
	}
	r.AuthRequests, r.AuthCodes, r.DeviceRequests, r.DeviceTokens, r.AuthSessions = n("areq"), n("code"), n("dreq"), n("dtok"), n("sess")
	return
}
func two(a, b string) string { return a + "\x00" + b }
func sessExp(a storage.AuthSession) time.Time {
	if a.IdleExpiry.IsZero() || (!a.AbsoluteExpiry.IsZero() && a.AbsoluteExpiry.Before(a.IdleExpiry)) {
		return a.AbsoluteExpiry
	}
	return a.IdleExpiry
}
