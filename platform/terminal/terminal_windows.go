package terminal

import (
	"fmt"
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"
)

// Open runs argv, a console program, in a console window of its own.
func Open(argv []string) error {
	c := exec.Command(argv[0], argv[1:]...)
	c.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_CONSOLE}
	if err := c.Start(); err != nil {
		return fmt.Errorf("open a terminal: %w", err)
	}
	return c.Process.Release()
}
