//go:build unix && !darwin

package elevate

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPolkitsAnswerIsUnderstood(t *testing.T) {
	for script, want := range map[string]error{
		`[ "$1 $2" = "/usr/bin/lanyard a b" ] || exit 1`: nil, // words stay words
		"exit 126": ErrRefused,
		"exit 127": ErrNone,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "pkexec"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", dir)
		if err := Run(t.Context(), []string{"/usr/bin/lanyard", "a b"}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", script, err, want)
		}
	}
	if err := os.WriteFile(filepath.Join(os.Getenv("PATH"), "pkexec"), []byte("#!/bin/sh\necho no such file\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), []string{"/usr/bin/lanyard"}); err == nil || !strings.Contains(err.Error(), "/usr/bin/lanyard: no such file") {
		t.Errorf("a program that fails: %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	if err := Run(t.Context(), []string{"/usr/bin/lanyard"}); !errors.Is(err, ErrNone) {
		t.Errorf("without polkit: %v", err)
	}
}
