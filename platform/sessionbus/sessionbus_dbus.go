//go:build unix && !darwin

package sessionbus

import (
	"errors"
	"fmt"
	"os"

	"github.com/godbus/dbus/v5"
)

// ErrNone is returned where there is no session bus.
var ErrNone = errors.New("there is no session bus here; this is not a desktop session")

// Connect opens a connection of the caller's own. The environment must name the bus: without, the library would start
// one by dbus-launch and leave it behind.
func Connect() (*dbus.Conn, error) {
	if os.Getenv("DBUS_SESSION_BUS_ADDRESS") == "" {
		return nil, ErrNone
	}
	c, err := dbus.ConnectSessionBus()
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrNone, err)
	}
	return c, nil
}

// Has reports whether a program on the bus owns name.
func Has(c *dbus.Conn, name string) bool {
	var has bool
	err := c.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, name).Store(&has)
	return err == nil && has
}

// Watch calls f with the new owner each time name changes hands ("" when it is left), until c closes.
func Watch(c *dbus.Conn, name string, f func(owner string)) error {
	err := c.AddMatchSignal(
		dbus.WithMatchSender("org.freedesktop.DBus"), dbus.WithMatchInterface("org.freedesktop.DBus"),
		dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, name))
	if err != nil {
		return err
	}
	signals := make(chan *dbus.Signal, 16)
	c.Signal(signals)
	go func() { // ends when c closes, which closes the channel
		for s := range signals {
			if s.Name != "org.freedesktop.DBus.NameOwnerChanged" || len(s.Body) != 3 || s.Body[0] != name {
				continue
			}
			if owner, ok := s.Body[2].(string); ok {
				f(owner)
			}
		}
	}()
	return nil
}
