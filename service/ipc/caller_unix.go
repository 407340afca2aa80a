//go:build unix

package ipc

import (
	"os"
	"os/user"
	"strconv"

	"lanyard/platform/peercred"
)

func callerID(c peercred.Cred) string { return strconv.FormatUint(uint64(c.UID), 10) }

// isAdmin: root; and the user whose own daemon this is, who could do everything to it anyway.
func isAdmin(c peercred.Cred) bool { return c.UID == 0 || int(c.UID) == os.Geteuid() }

func accountName(c peercred.Cred) string {
	id := callerID(c)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "uid " + id // of a directory that needs cgo to ask
}
