package supervisor

import (
	"errors"
	"fmt"
	"testing"

	"github.com/kardianos/service"
)

func TestStandingIsWhatTheSupervisorSays(t *testing.T) {
	for _, c := range []struct {
		system     string
		privileged bool
		st         service.Status
		err        error
		want       Standing
	}{
		{"linux", true, service.StatusUnknown, errors.New("service in failed state"), Failed}, // as the library says it of systemd
		{"linux", true, service.StatusUnknown, fmt.Errorf("status: %w", service.ErrNotInstalled), Absent},
		{"linux", true, service.StatusUnknown, errors.New("no bus"), Untold},
		{"linux", true, service.StatusUnknown, nil, Untold},
		{"linux", false, service.StatusStopped, nil, Stopped},
		{"linux", false, service.StatusRunning, nil, Running},
		{"darwin", true, service.StatusStopped, nil, Stopped},
		{"darwin", false, service.StatusStopped, nil, Hidden},
		{"freebsd", false, service.StatusStopped, nil, Hidden},
		{"freebsd", false, service.StatusRunning, nil, Running},
		{"darwin", false, service.StatusUnknown, service.ErrNotInstalled, Absent},
	} {
		if got := StandingBy(c.system, c.privileged, c.st, c.err); got != c.want {
			t.Errorf("%s, as an administrator %v, %v %v: read as %d, want %d", c.system, c.privileged, c.st, c.err, got, c.want)
		}
	}
}
