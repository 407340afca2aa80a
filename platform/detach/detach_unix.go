//go:build unix

// Package detach takes a program that is started off the caller's terminal.
package detach

import (
	"os/exec"
	"syscall"
)

// Detach makes cmd run in a session without a terminal.
func Detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
