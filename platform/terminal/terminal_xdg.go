//go:build unix && !darwin

package terminal

import (
	"fmt"
	"os/exec"
	"syscall"
)

// programs by preference: the person's choice first, where the system knows one. What follows is their way to name
// the program that runs inside, as words and not as a line for a shell.
var programs = [][]string{
	{"xdg-terminal-exec"},
	{"x-terminal-emulator", "-e"},
	{"gnome-terminal", "--"},
	{"kgx", "--"},
	{"konsole", "-e"},
	{"xfce4-terminal", "-x"},
	{"mate-terminal", "-x"},
	{"foot"},
	{"alacritty", "-e"},
	{"kitty"},
	{"xterm", "-e"},
}

// Open opens a window in which argv runs.
func Open(argv []string) error {
	for _, p := range programs {
		path, err := exec.LookPath(p[0])
		if err != nil {
			continue
		}
		c := exec.Command(path, append(p[1:len(p):len(p)], argv...)...)
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives the program that opened it
		if err := c.Start(); err != nil {
			return fmt.Errorf("open a terminal: %w", err)
		}
		go func() { _ = c.Wait() }() // so that it leaves no zombie
		return nil
	}
	return ErrNone
}
