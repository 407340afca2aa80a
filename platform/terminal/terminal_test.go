package terminal

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

func TestTerminalRunsTheProgram(t *testing.T) {
	dir := t.TempDir()
	made := filepath.Join(dir, "made here")
	argv := []string{"/bin/mkdir", made}
	switch runtime.GOOS {
	case "windows":
		argv = []string{os.Getenv("COMSPEC"), "/c", "mkdir", made}
	case "darwin":
		t.Skip("opens a window of the desktop")
	default:
		if err := os.WriteFile(filepath.Join(dir, "konsole"), []byte("#!/bin/sh\n[ \"$1\" = -e ] && shift && exec \"$@\"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", dir)
	}
	if err := Open(argv); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(made); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the program did not run")
		}
	}
	if runtime.GOOS == "windows" {
		if err := Open([]string{`C:\no-such-program.exe`}); err == nil {
			t.Error("a program that is not there was started")
		}
		return
	}
	t.Setenv("PATH", t.TempDir())
	if err := Open(argv); !errors.Is(err, ErrNone) {
		t.Errorf("without a terminal: %v", err)
	}
}
