//go:build unix

package spawn

import (
	"os"
	"os/signal"
	"syscall"
)

// hear makes the processes of sessions hear a hang-up and an interrupt though whoever started this program has made it
// deaf to them (nohup, a shell's "&"): what is ignored stays so in every process, what is handled does not (execve(2)).
// Go itself takes over all other signals. This program goes on as if it had heard nothing.
func hear() {
	for _, s := range []os.Signal{syscall.SIGHUP, syscall.SIGINT} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
}
