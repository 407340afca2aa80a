package terminal

import (
	"fmt"
	"os/exec"
)

// Open opens a window of Terminal in which argv runs. The words travel as arguments of the script, which quotes them
// for the shell that Terminal hands them to.
func Open(argv []string) error {
	args := []string{
		"-e", "on run argv", "-e", "set cmd to \"exec\"", "-e", "repeat with arg in argv",
		"-e", "set cmd to cmd & space & quoted form of (arg as text)", "-e", "end repeat",
		"-e", "tell application \"Terminal\"", "-e", "activate", "-e", "do script cmd", "-e", "end tell", "-e", "end run",
	}
	if err := exec.Command("/usr/bin/osascript", append(args, argv...)...).Run(); err != nil {
		return fmt.Errorf("%w (%w)", ErrNone, err)
	}
	return nil
}
