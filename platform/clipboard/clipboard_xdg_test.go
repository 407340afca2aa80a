//go:build unix && !darwin

package clipboard

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestTextGoesToTheDesktopsProgram(t *testing.T) {
	dir := t.TempDir()
	got := filepath.Join(dir, "got")
	t.Setenv("GOT", got)
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	for _, name := range []string{"wl-copy", "xclip"} {
		script := "#!/bin/sh\n{ printf '%s ' " + name + " \"$@\"; cat; } >\"$GOT\"\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ wayland, x, want string }{
		{"wayland-0", ":0", "wl-copy a\n$(b)"}, {"", ":0", "xclip -selection clipboard a\n$(b)"}, {"", "", ""},
	} {
		t.Setenv("WAYLAND_DISPLAY", c.wayland)
		t.Setenv("DISPLAY", c.x)
		err := Write("a\n$(b)")
		if c.want == "" {
			if !errors.Is(err, ErrNone) {
				t.Errorf("without a desktop: %v", err)
			}
			continue
		}
		if b, rerr := os.ReadFile(got); err != nil || rerr != nil || string(b) != c.want {
			t.Errorf("%q, %v, %v; want %q", b, err, rerr, c.want)
		}
	}
}
