//go:build unix

package session

import "os"

// openFiles is the soft limit of open files of a session: what the kernel, systemd and so sshd's sessions begin with,
// while the daemon's own may be far higher. Programs that use select(2) rely on it. 0: the daemon's, which without root
// is the account's own.
func openFiles() uint64 {
	if os.Geteuid() != 0 {
		return 0
	}
	return 1024
}
