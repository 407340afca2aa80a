package terminal

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test program be the one in the window. The window itself is on test/windows.md's list: Wine shows none
// without a screen.
func TestMain(m *testing.M) {
	if out := os.Getenv("TERMINAL_TEST_OUT"); out != "" {
		if err := os.WriteFile(out+".new", []byte(strings.Join(os.Args[1:], "|")), 0o600); err == nil {
			_ = os.Rename(out+".new", out)
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
	t.Setenv("TERMINAL_TEST_OUT", out)
	if err := Open([]string{self, "web-1", "a b", `c"d`, ""}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if b, err := os.ReadFile(out); err == nil {
			if string(b) != "web-1|a b|c\"d|" {
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
	if err := Open([]string{`C:\nowhere\ssh.exe`}); err == nil {
		t.Error("no error")
	}
}
