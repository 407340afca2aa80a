// Package clipboard puts text on the clipboard of the person's desktop.
package clipboard

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// ErrNone is returned when nothing here can write to a clipboard.
var ErrNone = errors.New("no program that writes to the clipboard was found here")

// write gives text to a program's standard input. One that stays in the background holds no pipe of ours.
func write(text string, argv ...string) error {
	c := exec.Command(argv[0], argv[1:]...)
	c.Stdin = strings.NewReader(text)
	if err := c.Run(); err != nil {
		return fmt.Errorf("write to the clipboard: %w", err)
	}
	return nil
}
