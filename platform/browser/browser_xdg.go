//go:build unix && !darwin

package browser

import (
	"os"
	"os/exec"
	"syscall"
)

// desktop uses xdg-open, and only under a desktop: elsewhere it would start a text browser on somebody's terminal.
func desktop(page string) ([]string, bool) {
	if os.Geteuid() == 0 || os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		return nil, false
	}
	path, err := exec.LookPath("xdg-open")
	if err != nil {
		return nil, false
	}
	return []string{path, page}, true
}

// ownSession keeps the browser alive, and off the terminal, when ours closes.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
