//go:build unix

package paths

import (
	"os"
	"path/filepath"
)

func privileged() bool { return os.Geteuid() == 0 }

// userState follows the XDG base directory specification.
func userState() string {
	if d := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "lanyard")
	}
	return filepath.Join(Home(), ".local", "state", "lanyard")
}

// userRun is $XDG_RUNTIME_DIR/lanyard, or the state folder where no session gives one.
func userRun(state string) string {
	if d := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(d) {
		return filepath.Join(d, "lanyard")
	}
	return state
}

func socket(run, profile string, _ bool) string { return filepath.Join(run, profile+".sock") }

// running reports whether a service of p was started and not tidied up.
func running(p Paths) bool {
	fi, err := os.Lstat(p.Socket)
	return err == nil && fi.Mode()&os.ModeSocket != 0 && owned(p.Socket, fi)
}
