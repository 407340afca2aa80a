//go:build unix && !darwin

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/godbus/dbus/v5"

	"lanyard/platform/sessionbus"
)

var errRunning = errors.New("the tray runs already")

// Names on the bus.
const (
	ownName     = "internal.lanyard.Tray"
	watcherName = "org.kde.StatusNotifierWatcher" // the panel's, by the StatusNotifierItem specification
	watcherPath = "/StatusNotifierWatcher"
	itemPath    = "/StatusNotifierItem" // ours, as the systray library exports it
)

// session is the desktop session that the tray belongs to.
type session struct {
	conn   *dbus.Conn
	panels chan bool // whether a panel takes icons; one word, when that is known
}

// joinSession makes this process the session's one tray.
func joinSession() (*session, error) {
	c, err := sessionbus.Connect()
	if err != nil {
		return nil, fmt.Errorf("the tray needs a desktop session: %w; 'lanyard login' and 'lanyard status' do the same in a terminal", err)
	}
	got, err := c.RequestName(ownName, dbus.NameFlagDoNotQueue)
	if err == nil && got != dbus.RequestNameReplyPrimaryOwner {
		err = errRunning
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return &session{conn: c, panels: make(chan bool, 1)}, nil
}

// bind ends ctx when the session does: the bus goes with it.
func (s *session) bind(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(s.conn.Context(), cancel)
	return ctx
}

func (s *session) close() { s.conn.Close() }

// panelGrace is how long a panel that starts with the session may take.
const panelGrace = 5 * time.Second

// shown gives the icon its menu and registers it with every panel that comes, once the systray library has put it on the
// bus.
//
// The library's own registration has two faults: it looks for a panel first and listens for a new one after, so that
// one that starts in between is missed; and it gives up for good at the first signal of an unexpected form on its
// connection. This takes its place: it listens on a connection of its own, and registers over the library's, which is
// the shared one of this process. A panel knows an item by connection and path, so that registering twice is once.
func (s *session) shown(ctx context.Context, log *slog.Logger, menu *rows) {
	register := func() {
		shared, err := dbus.SessionBus()
		if err == nil {
			err = shared.Object(watcherName, watcherPath).Call(watcherName+".RegisterStatusNotifierItem", 0, itemPath).Err
		}
		if err != nil {
			log.Warn("the panel did not take the icon", "err", err)
		}
	}
	err := sessionbus.Watch(s.conn, watcherName, func(owner string) {
		if owner != "" {
			register()
		}
	})
	if err != nil {
		log.Warn("a panel that starts later will not show the icon", "err", err)
	}
	go func() {
		defer close(s.panels)
		if !waitForItem(ctx) {
			return
		}
		shared, err := dbus.SessionBus()
		if err == nil {
			err = menu.show(shared)
		}
		if err != nil {
			log.Warn("the icon has no menu", "err", err)
		}
		if sessionbus.Has(s.conn, watcherName) {
			register()
			s.panels <- true
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(panelGrace):
			s.panels <- sessionbus.Has(s.conn, watcherName)
		}
	}()
}

// waitForItem waits until the library has exported the icon: an item that answers no questions is dropped.
func waitForItem(ctx context.Context) bool {
	for range 100 {
		shared, err := dbus.SessionBus()
		if err == nil {
			_, err = shared.Object(shared.Names()[0], itemPath).GetProperty("org.kde.StatusNotifierItem.Menu")
		}
		if err == nil {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(50 * time.Millisecond):
		}
	}
	return true
}

// noPanel waits until it is known whether a panel shows the icon, and reports that none does.
func (s *session) noPanel() bool {
	has, known := <-s.panels
	return known && !has
}
