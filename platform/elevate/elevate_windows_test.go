package elevate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test program be the one that runs with rights.
func TestMain(m *testing.M) {
	if len(os.Args) == 5 && os.Args[1] == "words" {
		if err := os.WriteFile(os.Args[2]+".new", []byte(strings.Join(os.Args[3:], "|")), 0o600); err == nil {
			_ = os.Rename(os.Args[2]+".new", os.Args[2])
		}
		return
	}
	os.Exit(m.Run())
}

func TestWordsReachTheProgramAsTheyAre(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	if err := Run(t.Context(), []string{self, "words", out, `a b & c"d`, `%PATH%`}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) { // Run does not wait
		if b, err := os.ReadFile(out); err == nil {
			if string(b) != `a b & c"d|%PATH%` {
				t.Errorf("it had %q", b)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatal("it did not run")
		}
	}
}

func TestProgramThatIsNotThereIsAnError(t *testing.T) {
	if err := Run(t.Context(), []string{`C:\nowhere\lanyard.exe`}); err == nil {
		t.Error("no error")
	}
}
