// Package logind tells systemd's login manager of sessions, as pam_systemd(8) does: they show in loginctl(1), have their
// own control group and $XDG_RUNTIME_DIR, and what the administrator says of logged-in people holds for them.
package logind

import (
	"errors"
	"time"
)

// Request is a session to be.
type Request struct {
	Uid        uint32
	Leader     int    // process that becomes the session's first; it moves into the session's control group
	TTY        string // "" without a terminal
	RemoteHost string
	Service    string
}

// Session is one that the login manager knows.
type Session struct {
	ID         string
	RuntimeDir string
	close      func()
}

// Close says that the session is over. What still runs in it, does as logind.conf(5) says.
func (s *Session) Close() {
	if s.close != nil {
		s.close()
	}
}

// ErrNone says that no login manager runs here.
var ErrNone = errors.New("no login manager (systemd-logind) runs on this machine")

// ErrSlow says that the login manager does not answer.
var ErrSlow = errors.New("systemd-logind does not answer; look at 'systemctl status systemd-logind'. Sessions begin without it")

// wait is how long a session waits for the login manager.
const wait = 1500 * time.Millisecond
