package bundle

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWhatProgramsSayIsPackedAndMissingOnesAreLeftOut(t *testing.T) {
	name := filepath.Join(t.TempDir(), "b.zip")
	b, err := Create(name, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b.Command(t.Context(), "tests.txt", self, "-test.list=TestWhatPrograms")
	b.Command(t.Context(), "fails.txt", self, "-test.no-such-flag")
	b.Command(t.Context(), "none.txt", filepath.Join(filepath.Dir(name), "no-such-program"))
	b.Logs(t.Context(), "lanyard-no-such-unit")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if b.Abs() != name || !filepath.IsAbs(b.Abs()) {
		t.Errorf("it lies at %s, not %s", b.Abs(), name)
	}
	all := packed(t, name)
	find := func(part string) string {
		for n, text := range all {
			if strings.HasSuffix(n, part) {
				return text
			}
		}
		return ""
	}
	if !strings.Contains(find("tests.txt"), "TestWhatProgramsSay") || !strings.Contains(find("fails.txt"), "exit status") || find("none.txt") != "" {
		t.Errorf("packed: %q", all)
	}
}
