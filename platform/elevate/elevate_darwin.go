package elevate

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// Run runs argv as root; the system shows its own dialog. The words travel as arguments of the script, which quotes
// them for the shell.
func Run(ctx context.Context, argv []string) error {
	args := []string{
		"-e", "on run argv", "-e", "set cmd to \"exec\"", "-e", "repeat with arg in argv",
		"-e", "set cmd to cmd & space & quoted form of (arg as text)", "-e", "end repeat",
		"-e", "do shell script cmd with administrator privileges", "-e", "end run",
	}
	out, err := exec.CommandContext(ctx, "/usr/bin/osascript", append(args, argv...)...).CombinedOutput()
	switch {
	case err == nil:
		return nil
	case strings.Contains(string(out), "-128"): // userCanceledErr
		return ErrRefused
	}
	return fmt.Errorf("%s: %s (%w)", argv[0], strings.TrimSpace(string(out)), err)
}
