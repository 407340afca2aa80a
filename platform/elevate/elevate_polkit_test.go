//go:build unix && !darwin

package elevate

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pkexec puts one on the PATH that does what a script says.
func pkexec(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if script != "" {
		if err := os.WriteFile(filepath.Join(dir, "pkexec"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
}

// The exit statuses are those of pkexec(1).
func TestWhatTheDialogSaidIsTold(t *testing.T) {
	for _, c := range []struct {
		name, script string
		is           error
	}{
		{"given", "exit 0", nil},
		{"dismissed", "exit 126", ErrRefused},
		{"nobody to ask", "echo 'No authentication agent found.' >&2; exit 127", ErrNone},
		{"no pkexec", "", ErrNone},
	} {
		pkexec(t, c.script)
		if err := Run(t.Context(), []string{"/usr/bin/lanyard", "up"}); !errors.Is(err, c.is) || (c.is == nil) != (err == nil) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	pkexec(t, "echo 'there is no network' >&2; exit 1")
	err := Run(t.Context(), []string{"/usr/bin/lanyard", "up"})
	if err == nil || errors.Is(err, ErrRefused) || errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "there is no network") {
		t.Errorf("a program that failed: %v", err)
	}
}

func TestWordsReachTheProgramAsTheyAre(t *testing.T) {
	out := filepath.Join(t.TempDir(), "words")
	pkexec(t, "printf '[%s]' \"$@\" >"+out)
	if err := Run(t.Context(), []string{"/opt/a b/lanyard", "--profile", "$(id)", ""}); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(out); err != nil || string(b) != "[/opt/a b/lanyard][--profile][$(id)][]" {
		t.Errorf("%s %v", b, err)
	}
}

func TestDialogThatNobodyAnswersEndsWithItsContext(t *testing.T) {
	pkexec(t, "exec /bin/sleep 60")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := Run(ctx, []string{"/usr/bin/lanyard"}); err == nil {
		t.Error("a dialog that nobody answered gave rights")
	}
	if d := time.Since(begin); d > 20*time.Second {
		t.Errorf("it took %s", d)
	}
}
