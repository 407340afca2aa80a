//go:build unix && !darwin

package elevate

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// Run runs argv as root through polkit, which shows its own dialog, and waits for it. argv[0] is an absolute path.
func Run(ctx context.Context, argv []string) error {
	pkexec, err := exec.LookPath("pkexec")
	if err != nil {
		return ErrNone
	}
	out, err := exec.CommandContext(ctx, pkexec, argv...).CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.ExitCode() == 126: // pkexec(1): the dialog was dismissed
		return ErrRefused
	case errors.As(err, &exit) && exit.ExitCode() == 127: // no authorization, or nobody to ask for it
		return ErrNone
	}
	return fmt.Errorf("%s: %s (%w)", argv[0], strings.TrimSpace(string(out)), err)
}
