//go:build unix && !darwin

package clipboard

import (
	"os"
	"os/exec"
	"time"
)

// Write replaces the clipboard's content.
func Write(text string) error { return within(patience, text) }

func within(patience time.Duration, text string) error {
	var tools [][]string
	if os.Getenv("WAYLAND_DISPLAY") != "" {
		tools = append(tools, []string{"wl-copy"})
	}
	if os.Getenv("DISPLAY") != "" {
		tools = append(tools, []string{"xclip", "-selection", "clipboard"}, []string{"xsel", "--clipboard", "--input"})
	}
	for _, argv := range tools {
		if path, err := exec.LookPath(argv[0]); err == nil {
			return write(patience, text, append([]string{path}, argv[1:]...)...)
		}
	}
	return ErrNone
}
