package supervisor

import (
	"errors"
	"strings"

	"github.com/kardianos/service"
)

// Standing is how a service stands with the system's supervisor.
type Standing int

// What a supervisor may say.
const (
	Untold  Standing = iota // it could not be asked
	Absent                  // it does not have the service
	Stopped                 // by somebody, or not started yet
	Failed                  // it has stopped by itself, and is not started again
	Running
	Hidden // it has the service; whether that runs is told to administrators
)

// StandingBy reads what the supervisor of system answered. Those of macOS and FreeBSD tell an ordinary user of a service that
// runs what they tell of one that is stopped.
func StandingBy(system string, privileged bool, st service.Status, err error) Standing {
	switch {
	case errors.Is(err, service.ErrNotInstalled):
		return Absent
	case err != nil && strings.Contains(err.Error(), "failed state"): // of systemd; it is no value
		return Failed
	case err != nil:
		return Untold
	case st == service.StatusRunning:
		return Running
	case st == service.StatusStopped && !privileged && (system == "darwin" || system == "freebsd"):
		return Hidden
	case st == service.StatusStopped:
		return Stopped
	}
	return Untold
}
