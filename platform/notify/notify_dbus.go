//go:build unix && !darwin

package notify

import (
	"context"
	"fmt"
	"html"
	"slices"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"lanyard/platform/sessionbus"
)

// Desk shows notes by the Desktop Notifications Specification 1.2.
type Desk struct {
	conn *dbus.Conn
	obj  dbus.BusObject
	wait time.Duration // for the desktop's answer

	mu      sync.Mutex
	pressed map[uint32]func(string) // guarded by mu: by the note's number
	groups  map[string]uint32       // guarded by mu: the last note of a group
}

// answerLimit is how long a desktop may take to show a note; one that hangs holds nobody up for longer.
const answerLimit = 5 * time.Second

const iface = "org.freedesktop.Notifications"

// Open connects to the desktop's notifications.
func Open() (*Desk, error) {
	c, err := sessionbus.Connect()
	if err != nil {
		return nil, err
	}
	d := &Desk{conn: c, obj: c.Object(iface, "/org/freedesktop/Notifications"), wait: answerLimit, pressed: map[uint32]func(string){}, groups: map[string]uint32{}}
	if err := c.AddMatchSignal(dbus.WithMatchInterface(iface), dbus.WithMatchObjectPath("/org/freedesktop/Notifications")); err != nil {
		c.Close()
		return nil, fmt.Errorf("listen to the notifications' buttons: %w", err)
	}
	signals := make(chan *dbus.Signal, 16)
	c.Signal(signals)
	go d.listen(signals) // ends with Close, which closes the channel
	return d, nil
}

// Close ends the connection; notes that are shown stay.
func (d *Desk) Close() error { return d.conn.Close() }

func (d *Desk) listen(signals <-chan *dbus.Signal) {
	for s := range signals {
		if len(s.Body) != 2 {
			continue
		}
		id, ok := s.Body[0].(uint32)
		if !ok {
			continue
		}
		d.mu.Lock()
		f := d.pressed[id]
		delete(d.pressed, id)
		d.mu.Unlock()
		if key, ok := s.Body[1].(string); ok && s.Name == iface+".ActionInvoked" && f != nil {
			f(key)
		}
	}
}

// Show shows n. pressed is called with a button's key, at most once.
func (d *Desk) Show(n Note, pressed func(key string)) error {
	ctx, cancel := context.WithTimeout(context.Background(), d.wait)
	defer cancel()
	var caps []string
	if err := d.obj.CallWithContext(ctx, iface+".GetCapabilities", 0).Store(&caps); err != nil {
		return fmt.Errorf("%w (%w)", ErrNone, err)
	}
	buttons := slices.Contains(caps, "actions")
	body := n.body(buttons)
	if slices.Contains(caps, "body-markup") {
		body = html.EscapeString(body) // a name is no markup
	}
	var actions []string
	if buttons {
		for _, b := range n.Buttons {
			actions = append(actions, b.Key, b.Label)
		}
	}
	// Held until the answer is noted: the button's signal may come right behind it.
	d.mu.Lock()
	defer d.mu.Unlock()
	var id uint32
	err := d.obj.CallWithContext(ctx, iface+".Notify", 0, "Lanyard", d.groups[n.Group], "", n.Title, body, actions,
		map[string]dbus.Variant{"desktop-entry": dbus.MakeVariant("lanyard-tray")}, int32(-1)).Store(&id)
	if err != nil {
		return fmt.Errorf("show a notification: %w", err)
	}
	if n.Group != "" {
		d.groups[n.Group] = id
	}
	if pressed != nil {
		d.pressed[id] = pressed
	}
	return nil
}
