// Package supervisor tells systemd how this process is (sd_notify(3)), and reads how a service is. Without systemd it says nothing to nobody.
package supervisor

import (
	"net"
	"os"
	"strconv"
	"time"
)

// Supervisor is who started this process. A nil one is told nothing.
type Supervisor struct {
	socket   string
	watchdog time.Duration
}

// Find takes what systemd put into the environment, out of it: no other process is to speak for this one.
func Find() *Supervisor {
	s := &Supervisor{socket: os.Getenv("NOTIFY_SOCKET")}
	usec, pid := os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID")
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		os.Unsetenv(name)
	}
	if s.socket == "" {
		return nil
	}
	if n, err := strconv.ParseInt(usec, 10, 64); err == nil && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		s.watchdog = time.Duration(n) * time.Microsecond
	}
	if s.socket[0] == '@' {
		s.socket = "\x00" + s.socket[1:] // an abstract socket
	}
	return s
}

// Watchdog is the longest that systemd waits for "WATCHDOG=1" before it restarts the service; 0: it does not wait.
func (s *Supervisor) Watchdog() time.Duration {
	if s == nil {
		return 0
	}
	return s.watchdog
}

// Notify sends a state, as in "READY=1".
func (s *Supervisor) Notify(state string) error {
	if s == nil {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte(state))
	return err
}
