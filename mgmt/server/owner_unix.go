//go:build !windows

package server

import (
	"net"
	"os"

	"lanyard/platform/peercred"
)

// fromOwner reports whether the other side is the user that runs this process, or root.
func fromOwner(c net.Conn) bool {
	cred, err := peercred.Of(c)
	return err == nil && (cred.UID == 0 || int(cred.UID) == os.Geteuid())
}
