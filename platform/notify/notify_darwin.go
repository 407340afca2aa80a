package notify

import (
	"fmt"
	"os/exec"
)

// Desk shows notes by the system's script language; it has no buttons.
type Desk struct{}

// Open is always possible.
func Open() (*Desk, error) { return &Desk{}, nil }

// Close does nothing.
func (*Desk) Close() error { return nil }

// Show shows n; its words are arguments of the script, never a part of it.
func (*Desk) Show(n Note, _ func(string)) error {
	err := exec.Command("/usr/bin/osascript", "-e", "on run argv",
		"-e", "display notification (item 2 of argv) with title (item 1 of argv)", "-e", "end run", n.Title, n.body(false)).Run()
	if err != nil {
		return fmt.Errorf("%w (%w)", ErrNone, err)
	}
	return nil
}
