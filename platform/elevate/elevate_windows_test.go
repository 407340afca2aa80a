package elevate

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The dialog itself is on test/windows.md's list.
func TestElevatedProgramRuns(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ran")
	if err := Run(t.Context(), []string{os.Getenv("COMSPEC"), "/c", "mkdir", file}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(file); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the program did not run")
		}
	}
	if err := Run(t.Context(), []string{`C:\no-such-program.exe`}); err == nil {
		t.Error("a program that is not there was started")
	}
}
