package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"golang.org/x/sys/windows"
)

var errRunning = errors.New("the tray runs already")

// session is the desktop session that the tray belongs to.
type session struct{ mutex windows.Handle }

// joinSession makes this process the session's one tray: "Local" names belong to a session.
func joinSession() (*session, error) {
	name, err := windows.UTF16PtrFromString(`Local\LanyardTray`)
	if err != nil {
		return nil, err
	}
	h, err := windows.CreateMutex(nil, false, name)
	if errors.Is(err, windows.ERROR_ALREADY_EXISTS) {
		_ = windows.CloseHandle(h)
		return nil, errRunning
	}
	if err != nil {
		return nil, fmt.Errorf("look for another tray in this session: %w", err)
	}
	return &session{mutex: h}, nil
}

func (s *session) bind(ctx context.Context) context.Context   { return ctx }
func (s *session) close()                                     { _ = windows.CloseHandle(s.mutex) }
func (s *session) shown(context.Context, *slog.Logger, *rows) {}
func (s *session) noPanel() bool                              { return false }
