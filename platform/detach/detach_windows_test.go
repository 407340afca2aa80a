package detach

import (
	"errors"
	"os"
	"os/exec"
	"testing"
)

func TestDetachedProgramRuns(t *testing.T) {
	c := exec.Command(os.Getenv("COMSPEC"), "/c", "exit 3")
	Detach(c)
	err := c.Run()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("%v", err)
	}
}
