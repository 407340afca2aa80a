//go:build unix

package detach

import (
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDetachedProgramLeadsItsOwnSession(t *testing.T) {
	c := exec.Command("cat")
	Detach(c)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if sid, err := unix.Getsid(c.Process.Pid); err != nil || sid != c.Process.Pid {
		t.Errorf("process %d is of session %d, %v", c.Process.Pid, sid, err)
	}
	in.Close()
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
}
