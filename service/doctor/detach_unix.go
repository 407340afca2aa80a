//go:build unix

package doctor

import (
	"os/exec"
	"syscall"
)

// detach runs cmd in a session without a terminal.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
