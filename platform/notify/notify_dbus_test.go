//go:build linux

package notify

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"lanyard/platform/sessionbus/bustest"
)

// shown is a note as a desktop got it.
type shown struct {
	id, replaces uint32
	title, body  string
	actions      []string
}

// desktop is a notification service with the capabilities caps.
type desktop struct {
	t    *testing.T
	conn *dbus.Conn
	caps []string

	mu  sync.Mutex
	all []shown // guarded by mu
}

func (d *desktop) GetCapabilities() ([]string, *dbus.Error) { return d.caps, nil }

func (d *desktop) Notify(_ string, replaces uint32, _, title, body string, actions []string, _ map[string]dbus.Variant, _ int32) (uint32, *dbus.Error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	id := replaces
	if id == 0 {
		id = uint32(len(d.all) + 1)
	}
	d.all = append(d.all, shown{id, replaces, title, body, actions})
	return id, nil
}

func (d *desktop) last() shown {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.all[len(d.all)-1]
}

func (d *desktop) emit(signal string, args ...any) {
	d.t.Helper()
	if err := d.conn.Emit("/org/freedesktop/Notifications", iface+"."+signal, args...); err != nil {
		d.t.Fatal(err)
	}
}

// open starts a desktop and our end of it.
func open(t *testing.T, caps ...string) (*desktop, *Desk) {
	t.Helper()
	addr, _ := bustest.Start(t)
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", addr)
	d := &desktop{t: t, conn: bustest.Connect(t, addr), caps: caps}
	if err := d.conn.Export(d, "/org/freedesktop/Notifications", iface); err != nil {
		t.Fatal(err)
	}
	if _, err := d.conn.RequestName(iface, dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	desk, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { desk.Close() })
	desk.wait = time.Minute
	return d, desk
}

var visitor = Note{
	Title: "Somebody <came> in", Body: "bob <b>&</b> from desk.", Buttons: []Button{{Key: "end", Label: "End it"}, {Key: "x", Label: "X"}},
	Else: "Click the badge.",
}

func TestNotesAreWhatTheDesktopCanShow(t *testing.T) {
	for _, c := range []struct {
		caps    []string
		body    string
		actions []string
	}{
		{[]string{"body", "body-markup", "actions"}, "bob &lt;b&gt;&amp;&lt;/b&gt; from desk.", []string{"end", "End it", "x", "X"}},
		{[]string{"body", "actions"}, "bob <b>&</b> from desk.", []string{"end", "End it", "x", "X"}},
		{[]string{"body"}, "bob <b>&</b> from desk. Click the badge.", nil}, // without buttons it says where to click
	} {
		d, desk := open(t, c.caps...)
		if err := desk.Show(visitor, nil); err != nil {
			t.Fatal(err)
		}
		if got := d.last(); got.title != visitor.Title || got.body != c.body || !slices.Equal(got.actions, c.actions) {
			t.Errorf("%v: %+v", c.caps, got)
		}
	}
}

func TestNewerNoteOfAGroupTakesTheOldersPlace(t *testing.T) {
	d, desk := open(t, "body")
	for i, c := range []struct {
		group string
		want  uint32
	}{{"a", 0}, {"b", 0}, {"a", 1}, {"", 0}, {"", 0}, {"b", 2}} {
		if err := desk.Show(Note{Title: "x", Group: c.group}, nil); err != nil {
			t.Fatal(err)
		}
		if got := d.last().replaces; got != c.want {
			t.Errorf("note %d of group %q replaces %d, want %d", i, c.group, got, c.want)
		}
	}
}

func TestButtonIsHeardOnceAndByItsOwnNoteOnly(t *testing.T) {
	d, desk := open(t, "body", "actions")
	pressed := make(chan string, 8)
	show := func(name string) uint32 {
		t.Helper()
		if err := desk.Show(visitor, func(key string) { pressed <- name + " " + key }); err != nil {
			t.Fatal(err)
		}
		return d.last().id
	}
	one, two, three := show("one"), show("two"), show("three")
	d.emit("ActionInvoked", uint32(99), "end")   // another program's
	d.emit("ActionInvoked", "no number", "end")  // none at all
	d.emit("NotificationClosed", one, uint32(2)) // by the person: its button cannot be pressed any more
	d.emit("ActionInvoked", one, "end")
	d.emit("ActionInvoked", two, "x")
	d.emit("ActionInvoked", two, "end")
	d.emit("ActionInvoked", three, "end")
	for _, want := range []string{"two x", "three end"} {
		select {
		case got := <-pressed:
			if got != want {
				t.Errorf("pressed %q, want %q", got, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%q was not heard", want)
		}
	}
	if len(pressed) > 0 {
		t.Errorf("heard again: %q", <-pressed)
	}
}

func TestDesktopWithoutNotificationsIsNamed(t *testing.T) {
	addr, _ := bustest.Start(t)
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", addr)
	desk, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer desk.Close()
	if err := desk.Show(visitor, nil); !errors.Is(err, ErrNone) {
		t.Errorf("%v", err)
	}
}

// A desktop that hangs, as one does that is being debugged or swapped out, holds nobody up for long.
func TestDesktopThatHangsIsGivenUp(t *testing.T) {
	d, desk := open(t)
	desk.wait = 50 * time.Millisecond
	d.mu.Lock() // Notify waits
	defer d.mu.Unlock()
	shown := make(chan error, 1)
	go func() { shown <- desk.Show(visitor, nil) }()
	select {
	case err := <-shown:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("it waits for ever")
	}
}
