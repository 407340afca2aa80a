//go:build unix && !darwin

package terminal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tools makes a PATH with these programs alone. Each notes its name, its words and its session in the file that is
// returned.
func tools(t *testing.T, names ...string) (log string) {
	t.Helper()
	dir := t.TempDir()
	log = filepath.Join(dir, "log")
	for _, n := range names {
		script := "#!/bin/sh\n{ printf '" + n + "'; printf ' [%s]' \"$@\"; read -r _ _ _ _ _ sid _ </proc/self/stat; printf ' sid %s' \"$sid\"; } >" + log + ".new\n/bin/mv " + log + ".new " + log + "\n"
		if err := os.WriteFile(filepath.Join(dir, n), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	return log
}

func read(t *testing.T, log string) string {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if b, err := os.ReadFile(log); err == nil {
			return string(b)
		}
		if time.Now().After(end) {
			t.Fatal("no terminal was opened")
		}
	}
}

func TestPersonsTerminalComesFirst(t *testing.T) {
	for _, c := range []struct {
		have []string
		want string
	}{
		{[]string{"xterm", "gnome-terminal", "xdg-terminal-exec", "x-terminal-emulator"}, "xdg-terminal-exec "},
		{[]string{"xterm", "gnome-terminal", "x-terminal-emulator"}, "x-terminal-emulator [-e] "},
		{[]string{"xterm", "gnome-terminal"}, "gnome-terminal [--] "},
		{[]string{"xterm", "foot"}, "foot "},
		{[]string{"xterm"}, "xterm [-e] "},
	} {
		log := tools(t, c.have...)
		if err := Open([]string{"/bin/ssh", "web-1"}); err != nil {
			t.Fatal(err)
		}
		if got := read(t, log); !strings.HasPrefix(got, c.want+"[/bin/ssh] [web-1] sid ") {
			t.Errorf("of %v: %s", c.have, got)
		}
	}
}

func TestWordsReachTheProgramAsTheyAre(t *testing.T) {
	log := tools(t, "xterm")
	words := []string{"/opt/a b/lanyard", "$(touch x)", "; rm -rf /", "-e", "", "\"quoted\" 'words'"}
	if err := Open(words); err != nil {
		t.Fatal(err)
	}
	want := "xterm [-e]"
	for _, w := range words {
		want += " [" + w + "]"
	}
	if got := read(t, log); !strings.HasPrefix(got, want+" sid ") {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTerminalOutlivesWhoOpenedIt(t *testing.T) {
	log := tools(t, "xterm")
	if err := Open([]string{"true"}); err != nil {
		t.Fatal(err)
	}
	own, _, _ := syscall.Syscall(syscall.SYS_GETSID, 0, 0, 0)
	if got := read(t, log); strings.HasSuffix(got, fmt.Sprintf("sid %d", own)) || strings.HasSuffix(got, "sid ") {
		t.Errorf("it runs in our session %d: %s", own, got)
	}
}

func TestWithoutATerminalThatIsSaid(t *testing.T) {
	tools(t)
	if err := Open([]string{"true"}); !errors.Is(err, ErrNone) {
		t.Errorf("%v", err)
	}
}
