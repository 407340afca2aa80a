// Package peercred tells who is at the other end of a local connection, as the kernel knows it. Nothing that the
// other side says takes part.
package peercred

import (
	"errors"
	"net"
)

// Cred is the other side's identity when it connected. On Windows SID is set, elsewhere UID and GID.
type Cred struct {
	UID uint32
	GID uint32
	PID int // 0 where the system does not tell; a hint only, the process may be gone
	SID string
}

// ErrNotLocal is returned for a connection that carries no kernel credentials.
var ErrNotLocal = errors.New("the connection carries no kernel credentials: it is not a local socket or pipe")

// Of returns the identity of the process that opened c.
func Of(c net.Conn) (Cred, error) { return of(c) }
