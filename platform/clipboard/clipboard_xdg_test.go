//go:build unix && !darwin

package clipboard

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"lanyard/test/calm"
)

// tools makes a PATH with these programs alone; each writes its name and what it read to the file that is returned.
func tools(t *testing.T, names ...string) (log string) {
	t.Helper()
	dir := t.TempDir()
	log = filepath.Join(dir, "log")
	for _, n := range names {
		script := "#!/bin/sh\n{ echo " + n + " \"$@\"; /bin/cat; } >" + log + "\n"
		if err := os.WriteFile(filepath.Join(dir, n), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	return log
}

func TestDesktopsOwnToolIsUsed(t *testing.T) {
	all := []string{"wl-copy", "xclip", "xsel"}
	for _, c := range []struct {
		wayland, x string
		have       []string
		want       string // empty: none
	}{
		{"wayland-0", ":0", all, "wl-copy"},
		{"wayland-0", ":0", all[1:], "xclip -selection clipboard"}, // by XWayland
		{"", ":0", all, "xclip -selection clipboard"},
		{"", ":0", all[2:], "xsel --clipboard --input"},
		{"wayland-0", "", all[1:], ""},
		{"", "", all, ""},
		{"", ":0", nil, ""},
	} {
		t.Setenv("WAYLAND_DISPLAY", c.wayland)
		t.Setenv("DISPLAY", c.x)
		log := tools(t, c.have...)
		const text = "ssh web-1 -- 'a b' $(x)"
		err := within(time.Minute, text)
		got, _ := os.ReadFile(log)
		if c.want == "" {
			if !errors.Is(err, ErrNone) || len(got) > 0 {
				t.Errorf("%+v: %v %q", c, err, got)
			}
		} else if err != nil || string(got) != c.want+"\n"+text {
			t.Errorf("%+v: %v %q", c, err, got)
		}
	}
}

// The program waits for a desktop that does not answer, and so do the processes that it began.
func TestToolThatHangsIsGivenUp(t *testing.T) {
	t.Setenv("WAYLAND_DISPLAY", "")
	t.Setenv("DISPLAY", ":0")
	tools(t)
	pids := filepath.Join(t.TempDir(), "pids")
	hangs := "#!/bin/sh\n/bin/sleep 300 &\necho $! >>" + pids + "\n/bin/sleep 300 &\necho $! >>" + pids + "\nwait\n"
	if err := os.WriteFile(filepath.Join(os.Getenv("PATH"), "xclip"), []byte(hangs), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // which nobody else ends
		left, _ := os.ReadFile(pids)
		for _, f := range strings.Fields(string(left)) {
			if pid, err := strconv.Atoi(f); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	clock := calm.Start()
	err := Write(strings.Repeat("x", 1<<20)) // more than a pipe holds
	if took := clock.Stop(); err == nil || !strings.Contains(err.Error(), "the clipboard did not answer: xclip") || took > 10*time.Second {
		t.Errorf("%v after %s", err, took)
	}
}

func TestToolThatFailsIsAnError(t *testing.T) {
	t.Setenv("WAYLAND_DISPLAY", "")
	t.Setenv("DISPLAY", ":0")
	tools(t)
	if err := os.WriteFile(filepath.Join(os.Getenv("PATH"), "xclip"), []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := within(time.Minute, "x"); err == nil || errors.Is(err, ErrNone) {
		t.Errorf("%v", err)
	}
}
