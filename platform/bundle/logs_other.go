//go:build !linux && !windows

package bundle

import "context"

// logs takes the file that launchd or daemon(8) writes.
func logs(_ context.Context, b *Bundle, unit string) {
	b.File("log.txt", "/var/log/"+unit+".log")
	b.File("messages.txt", "/var/log/daemon.log")
}
