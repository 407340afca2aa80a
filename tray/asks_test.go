//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"lanyard/platform/paths"
	"lanyard/service/ipc"
)

// answered waits until the service has heard exactly these answers.
func (d *service) answered(want ...ipc.Answer) {
	d.t.Helper()
	until(d.t, time.Minute, func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		if !slices.Equal(d.answers, want) {
			return fmt.Errorf("answers %v, want %v", d.answers, want)
		}
		return nil
	})
}

func TestWaitingProgramIsShownAndAnswered(t *testing.T) {
	home := place(t)
	d := newService(t, socketHere())
	d.set(up(nil))
	r := startTray(t, home)
	r.shows("Connected as laptop, signed out")

	d.asks <- ipc.Ask{ID: "1", To: "web-1"}
	n := r.notes.titled(t, "ssh to web-1 needs you to sign in")
	r.notes.press(t, n, string(notNow))
	refused := ipc.Answer{ID: "1", How: ipc.ReplyRefused}
	d.answered(refused)

	// Somebody signs in elsewhere: what waits goes on.
	d.asks <- ipc.Ask{ID: "2"}
	r.notes.titled(t, "A program of yours needs you to sign in")
	signInHere(t, "ann@example.com", time.Now(), time.Now().Add(8*time.Hour))
	d.answered(refused, ipc.Answer{ID: "2", How: ipc.ReplySignedIn})
}

// Programs wait in two networks: each has a notification of its own, and an answer in one says nothing in the other.
func TestProgramsOfTwoNetworksWaitApart(t *testing.T) {
	home := place(t)
	prod := paths.System("prod")
	if err := os.MkdirAll(prod.State, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(prod.State, "state.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	here, there := newService(t, socketHere()), newService(t, prod.Socket)
	here.set(up(nil))
	there.set(up(nil))
	r := startTray(t, home)
	r.shows("Connected as laptop, signed out")

	here.asks <- ipc.Ask{ID: "h", To: "web-1"}
	first := r.notes.titled(t, "ssh to web-1 needs you to sign in")
	there.asks <- ipc.Ask{ID: "t", To: "db-1"}
	second := r.notes.titled(t, "ssh to db-1, in the network prod, needs you to sign in")
	if first.id == second.id {
		t.Error("one notification took the other's place")
	}
	r.notes.press(t, second, string(notNow))
	there.answered(ipc.Answer{ID: "t", How: ipc.ReplyRefused})
	here.answered()
	signInHere(t, "ann@example.com", time.Now(), time.Now().Add(8*time.Hour))
	here.answered(ipc.Answer{ID: "h", How: ipc.ReplySignedIn})
	there.answered(ipc.Answer{ID: "t", How: ipc.ReplyRefused})
}

// A tray that may show nothing does not listen, so that programs are refused at once.
func TestTrayWithoutNotificationsTakesNoQuestions(t *testing.T) {
	home := place(t)
	if err := openSettings("default").change(func(c *choices) { c.Notify = false }); err != nil {
		t.Fatal(err)
	}
	d := newService(t, socketHere())
	d.set(up(nil))
	r := startTray(t, home)
	r.shows("Connected as laptop, signed out")
	select {
	case d.asks <- ipc.Ask{ID: "1"}:
		t.Error("it listens")
	case <-time.After(2 * again):
	}
}
