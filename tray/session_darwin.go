package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"lanyard/platform/paths"
)

var errRunning = errors.New("the tray runs already")

// session is the desktop session that the tray belongs to. A person has one at a time here.
type session struct{ lock *os.File }

// joinSession makes this process the person's one tray.
func joinSession() (*session, error) {
	dir := paths.User(paths.DefaultProfile).Login
	if err := paths.PrivateDir(dir); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "tray.lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errRunning
		}
		return nil, err
	}
	return &session{lock: f}, nil
}

func (s *session) bind(ctx context.Context) context.Context   { return ctx }
func (s *session) close()                                     { s.lock.Close() }
func (s *session) shown(context.Context, *slog.Logger, *rows) {}
func (s *session) noPanel() bool                              { return false }
