//go:build unix

package clipboard

import (
	"fmt"
	"os/exec"
	"strings"
)

// write gives text to a program's standard input. One that stays in the background holds no pipe of ours.
func write(text string, argv ...string) error {
	c := exec.Command(argv[0], argv[1:]...)
	c.Stdin = strings.NewReader(text)
	if err := c.Run(); err != nil {
		return fmt.Errorf("write to the clipboard: %w", err)
	}
	return nil
}
