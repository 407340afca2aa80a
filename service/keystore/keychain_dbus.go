//go:build unix && !darwin

package keystore

import "os"

// reachable reports whether a session bus is there to ask. Without the check the client library would start a bus of
// its own where dbus-x11 is installed, and leave it behind.
func reachable() bool { return os.Getenv("DBUS_SESSION_BUS_ADDRESS") != "" }
