// Package store keeps what the management server knows: people, groups, machines, policies, setup keys, logins,
// audit events and the embedded provider's objects. It is one SQLite file in the state folder.
//
// Reads and writes are methods of Queries. A Store is a Queries on the database itself; Change gives one on a
// transaction that also writes the audit event, so that no change can happen without its line.
package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"modernc.org/sqlite" // also the database/sql driver "sqlite"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
)

// ErrNotFound is returned for an object that does not exist.
var ErrNotFound = errors.New("there is no such object")

// ErrExists is returned for a name that is taken.
var ErrExists = errors.New("it exists already")

// ErrLocked is returned by Open while another process has the state folder open.
var ErrLocked = errors.New("another lanyard-mgmt is running on this state folder; stop it first or choose another with --state")

type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Queries reads and writes on a database or on one transaction of it.
type Queries struct {
	q   querier
	now func() time.Time
}

// Store is an open database.
type Store struct {
	Queries
	db   *sql.DB
	lock *os.File
}

// Open opens or makes the database in dir, which is made 0700 when it does not exist. Only one process may have
// it open.
func Open(ctx context.Context, dir string, now func() time.Time) (*Store, error) {
	return openWaiting(ctx, dir, now, 20*time.Second)
}

// openWaiting is Open; a change waits at most so long for another one's end.
func openWaiting(ctx context.Context, dir string, now func() time.Time, busy time.Duration) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state folder: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("protect the state folder: %w", err)
	}
	lock, err := lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, Database)
	// The file is made by us so that it is never, even for a moment, readable by others.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("make the database: %w", err)
	}
	f.Close()
	db, err := sql.Open("sqlite", "file:"+path+fmt.Sprintf("?_pragma=busy_timeout(%d)", busy.Milliseconds())+
		"&_pragma=journal_mode(wal)&_pragma=synchronous(full)&_pragma=foreign_keys(1)&_txlock=immediate")
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("open the database %s: %w", path, err)
	}
	s := &Store{Queries: Queries{q: db, now: now}, db: db, lock: lock}
	if err := s.migrate(ctx); err != nil {
		s.Close()
		return nil, fmt.Errorf("open the database %s: %w", path, err)
	}
	return s, nil
}

// Close closes the database and lets the next process have the folder.
func (s *Store) Close() error {
	return errors.Join(s.db.Close(), s.lock.Close())
}

// IsFull reports whether err came of a disk, or a quota, without room.
func IsFull(err error) bool {
	const full = 13 // SQLITE_FULL
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == full || errors.Is(err, syscall.ENOSPC)
}

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error { return s.db.PingContext(ctx) }

// Tx runs f in a transaction.
func (s *Store) Tx(ctx context.Context, f func(*Queries) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin a change in the database: %w", err)
	}
	defer tx.Rollback() // does nothing after Commit
	if err := f(&Queries{q: tx, now: s.now}); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit a change in the database: %w", err)
	}
	return nil
}

// Change runs f in a transaction that also writes ev, which f may still complete. ID and Time are set when empty.
func (s *Store) Change(ctx context.Context, ev *audit.Event, f func(*Queries) error) error {
	return s.Tx(ctx, func(q *Queries) error {
		if err := f(q); err != nil {
			return err
		}
		return q.AddAudit(ctx, ev)
	})
}

// migrate brings the schema up to date, one transaction per version.
func (s *Store) migrate(ctx context.Context) error {
	var have int
	if err := s.db.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&have); err != nil {
		return err
	}
	if have > len(migrations) {
		return api.ErrFormat
	}
	for i := have; i < len(migrations); i++ {
		tx, err := s.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, migrations[i]); err != nil {
			tx.Rollback()
			return fmt.Errorf("bring it to version %d: %w", i+1, err)
		}
		// PRAGMA takes no parameters; i is ours.
		if _, err := tx.ExecContext(ctx, fmt.Sprintf(`PRAGMA user_version = %d`, i+1)); err != nil {
			tx.Rollback()
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
	}
	return nil
}

// Times are kept as Unix milliseconds, zero for the zero time.
func ms(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMS(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMilli(n).UTC()
}

// text is v as JSON, for columns that hold lists.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // only our own plain types come here
	}
	return string(b)
}

func one(r sql.Result, err error) error {
	if err != nil {
		return err
	}
	if n, err := r.RowsAffected(); err != nil {
		return err
	} else if n == 0 {
		return ErrNotFound
	}
	return nil
}

func notFound(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return err
}

// collect scans every row with scan.
func collect[T any](rows *sql.Rows, err error, scan func(interface{ Scan(...any) error }) (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := []T{}
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}
