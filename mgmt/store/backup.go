package store

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"lanyard/mgmt/api/audit"
)

// Database is the name of the database in the state folder.
const Database = "mgmt.db"

// Lock keeps every other process from opening the state folder until it is closed: ErrLocked when one has it open.
func Lock(dir string) (io.Closer, error) { return lockFile(filepath.Join(dir, "lock")) }

// Snapshot writes a consistent copy of the database in dir to the file to, which must not exist, while a server goes
// on using the database.
func Snapshot(ctx context.Context, dir, to string) error {
	path := filepath.Join(dir, Database)
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, `VACUUM INTO ?`, to); err != nil {
		return fmt.Errorf("copy the database %s: %w", path, err)
	}
	return os.Chmod(to, 0o600)
}

// Restored opens the database in dir that was put back from a backup, checks all of it, and begins a new epoch:
// machines that saw later maps accept the older content again. Epochs rise with the clock, so that a backup can be
// put back twice.
func Restored(ctx context.Context, dir string, now func() time.Time, detail string) error {
	s, err := Open(ctx, dir, now)
	if err != nil {
		return err
	}
	defer s.Close()
	var verdict string
	if err := s.db.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&verdict); err != nil || verdict != "ok" {
		return fmt.Errorf("the backup's database is damaged (%s); take another backup: %w", verdict, err)
	}
	return s.Change(ctx, &audit.Event{Type: audit.AdminChange, What: "restored", Detail: detail}, func(q *Queries) error {
		clock, err := q.Clock(ctx)
		if err != nil {
			return err
		}
		clock.Epoch = max(clock.Epoch+1, uint64(now().Unix()))
		return q.PutClock(ctx, clock)
	})
}
