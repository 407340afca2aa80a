//go:build unix

package clipboard

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// patience is how long a program may take for a text; one that cannot reach its desktop waits for ever.
const patience = 3 * time.Second

// write gives text to a program's standard input. One that stays in the background holds no pipe of ours.
func write(patience time.Duration, text string, argv ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Stdin = strings.NewReader(text)
	c.WaitDelay = time.Second // for what it left behind with our pipe
	err := c.Run()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("the clipboard did not answer: %s took longer than %s; try again", filepath.Base(argv[0]), patience)
	case errors.Is(err, exec.ErrWaitDelay): // it has ended well, and another process of it goes on
		return nil
	case err != nil:
		return fmt.Errorf("write to the clipboard: %w", err)
	}
	return nil
}
