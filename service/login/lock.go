package login

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"lanyard/mgmt/api"
	"lanyard/platform/paths"
)

// turn makes sure that one thing happens at a time for this user, across all processes, and that those who waited get
// to know how it went. The kernel frees the lock of a process that dies.
type turn struct {
	f *os.File
}

// outcome is what the last holder of a turn left in the lock file.
type outcome struct {
	Began time.Time `json:"began"`
	Ended time.Time `json:"ended"`
	Err   string    `json:"err,omitempty"`
	Code  string    `json:"code,omitempty"` // of the refusal that Err is
}

// poll is how often a waiting process looks whether the lock is free.
const poll = 20 * time.Millisecond

// takeTurn waits for the lock called name. waited is called once if it is taken. before is non-nil when somebody
// finished the same thing while this process waited.
func takeTurn(ctx context.Context, p paths.Paths, name string, waited func()) (t *turn, before *outcome, err error) {
	if err := paths.PrivateDir(p.Login); err != nil {
		return nil, nil, err
	}
	f, err := os.OpenFile(filepath.Join(p.Login, name+".lock"), os.O_RDWR|os.O_CREATE|noFollow, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open the lock of this sign-in: %w", err)
	}
	begin, waiting := time.Now(), false
	for {
		err := tryLock(f)
		if err == nil {
			break
		}
		if !errors.Is(err, errLocked) {
			f.Close()
			return nil, nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		if !waiting && waited != nil {
			waited()
		}
		waiting = true
		select {
		case <-ctx.Done():
			f.Close()
			return nil, nil, context.Cause(ctx)
		case <-time.After(poll):
		}
	}
	t = &turn{f: f}
	if raw, err := io.ReadAll(io.LimitReader(f, 4<<10)); err == nil && waiting {
		var o outcome
		if json.Unmarshal(raw, &o) == nil && o.Ended.After(begin) && !o.Ended.After(time.Now()) {
			before = &o
		}
	}
	return t, before, nil
}

// lastTurn is what the last holder of the turn called name left; nothing where there was none.
func lastTurn(p paths.Paths, name string) (o outcome) {
	raw, err := paths.ReadFile(filepath.Join(p.Login, name+".lock"))
	if err != nil || json.Unmarshal(raw, &o) != nil {
		return outcome{}
	}
	return o
}

// tryTurn takes the lock called name unless somebody has it.
func tryTurn(p paths.Paths, name string) (t *turn, ok bool, err error) {
	if err := paths.PrivateDir(p.Login); err != nil {
		return nil, false, err
	}
	f, err := os.OpenFile(filepath.Join(p.Login, name+".lock"), os.O_RDWR|os.O_CREATE|noFollow, 0o600)
	if err != nil {
		return nil, false, fmt.Errorf("open the lock of this sign-in: %w", err)
	}
	if err := tryLock(f); err != nil {
		f.Close()
		if errors.Is(err, errLocked) {
			return nil, false, nil
		}
		return nil, false, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return &turn{f: f}, true, nil
}

// done leaves word for those who wait, and frees the lock.
func (t *turn) done(began time.Time, err error) {
	o := outcome{Began: began, Ended: time.Now()}
	if err != nil {
		o.Err = err.Error()
	}
	if refused := (*api.Error)(nil); errors.As(err, &refused) {
		o.Code = refused.Code
	}
	if raw, err := json.Marshal(o); err == nil {
		// Who finds no word here, or half of one, does the work once more.
		if t.f.Truncate(0) == nil {
			_, _ = t.f.WriteAt(raw, 0)
		}
	}
	t.f.Close()
}

// leave frees the lock and keeps the last word.
func (t *turn) leave() { t.f.Close() }
