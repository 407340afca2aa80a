//go:build unix

package session

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// StartVerb is the name in argv of the helper that goes home and becomes the program.
const StartVerb = "session-start"

// launch makes a command of path and argv that begins in dir. The daemon must not go there itself, not even in the
// child it forks: a home may lie on a file system that hangs (a dead file server, or one of the user's own making),
// and until the child executes something the whole daemon would hang with it. So the program is the helper first.
func launch(helper []string, dir, path string, argv []string) (string, []string) {
	start := append([]string{}, helper...)
	start = append(start, StartVerb, dir, path)
	return helper[0], append(start, argv...)
}

// StartMain is the helper: it runs as the account already, and becomes the program of args (dir, path, argv...).
func StartMain(args []string) (exit int) {
	if len(args) < 3 {
		fmt.Fprintln(os.Stderr, "Lanyard: sessions call this by themselves")
		return 2
	}
	if err := os.Chdir(args[0]); err != nil {
		if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
			err = pe.Err
		}
		fmt.Fprintf(os.Stderr, "Could not chdir to home directory %s: %v\n", args[0], err)
	}
	err := syscall.Exec(args[1], args[2:], os.Environ())
	fmt.Fprintf(os.Stderr, "Lanyard: cannot start %s: %v\n", args[1], err)
	if errors.Is(err, fs.ErrNotExist) {
		return 127
	}
	return 126
}
