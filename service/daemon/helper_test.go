//go:build unix

package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"lanyard/platform/release"
)

// A helper is used where packages put it or beside the program, and only one of the same release that nobody else may change.
func TestHelperOfThisReleaseIsUsed(t *testing.T) {
	says := func(version string) string { return fmt.Sprintf("#!/bin/sh\necho '%s'\n", version) }
	for name, c := range map[string]struct {
		at, text string
		change   func(file string) error
		used     bool
	}{
		"packaged":             {"lib/lanyard/lanyard-helper", says(release.Stamp()), nil, true},
		"beside":               {"bin/lanyard-helper", says(release.Stamp()), nil, true},
		"of another release":   {"bin/lanyard-helper", says("0.0.1"), nil, false},
		"that does not run":    {"bin/lanyard-helper", "", nil, false},
		"that fails":           {"bin/lanyard-helper", "#!/bin/sh\nexit 1\n", nil, false},
		"somewhere else":       {"share/lanyard-helper", says(release.Stamp()), nil, false},
		"that others may edit": {"bin/lanyard-helper", says(release.Stamp()), func(f string) error { return os.Chmod(f, 0o775) }, false},
		"in a folder of others": {"lib/lanyard/lanyard-helper", says(release.Stamp()), func(f string) error {
			return os.Chmod(filepath.Dir(f), 0o777)
		}, false},
		"that others may not run": {"bin/lanyard-helper", says(release.Stamp()), func(f string) error { return os.Chmod(f, 0o700) }, false},
		"that is a link": {"bin/lanyard-helper", says(release.Stamp()), func(f string) error {
			if err := os.Rename(f, f+".real"); err != nil {
				return err
			}
			return os.Symlink(f+".real", f)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, d := range []string{"bin", "lib/lanyard", "share"} {
				if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			program, helper := filepath.Join(dir, "bin", "lanyard"), filepath.Join(dir, c.at)
			for f, text := range map[string]string{program: "", helper: c.text} {
				if err := os.WriteFile(f, []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if c.change != nil {
				if err := c.change(helper); err != nil {
					t.Fatal(err)
				}
			}
			want := program
			if c.used {
				want = helper
			}
			if got := helperOf(program); got != want {
				t.Errorf("it uses %s", got)
			}
		})
	}
	if got := helperOf(filepath.Join(t.TempDir(), "nothing")); filepath.Base(got) != "nothing" {
		t.Error("it uses", got)
	}
}
