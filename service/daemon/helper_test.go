//go:build unix

package daemon

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lanyard/platform/release"
)

// A helper is used where packages put it or beside the program, and only one of the same release that nobody else may change.
func TestHelperOfThisReleaseIsUsed(t *testing.T) {
	const hands = "lanyard-helper is not a program that everybody may run"
	says := func(version string) string { return fmt.Sprintf("#!/bin/sh\necho '%s'\n", version) }
	for name, c := range map[string]struct {
		at, text string
		change   func(file string) error
		why      string // it is not used; empty: it is
	}{
		"packaged":             {"lib/lanyard/lanyard-helper", says(release.Stamp()), nil, ""},
		"beside":               {"bin/lanyard-helper", says(release.Stamp()), nil, ""},
		"of another release":   {"bin/lanyard-helper", says("0.0.1"), nil, `lanyard-helper is of version "0.0.1", and `},
		"that does not run":    {"bin/lanyard-helper", "", nil, `is of version "?"`},
		"that fails":           {"bin/lanyard-helper", "#!/bin/sh\nexit 1\n", nil, `is of version "?"`},
		"somewhere else":       {"share/lanyard-helper", says(release.Stamp()), nil, "there is no lanyard-helper beside "},
		"that others may edit": {"bin/lanyard-helper", says(release.Stamp()), func(f string) error { return os.Chmod(f, 0o775) }, hands},
		"in a folder of others": {"lib/lanyard/lanyard-helper", says(release.Stamp()), func(f string) error {
			return os.Chmod(filepath.Dir(f), 0o777)
		}, hands},
		"that others may not run": {"bin/lanyard-helper", says(release.Stamp()), func(f string) error { return os.Chmod(f, 0o700) }, hands},
		"that is a link": {"bin/lanyard-helper", says(release.Stamp()), func(f string) error {
			if err := os.Rename(f, f+".real"); err != nil {
				return err
			}
			return os.Symlink(f+".real", f)
		}, hands},
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
			if c.why == "" {
				want = helper
			}
			if got, why := helperOf(program); got != want || !strings.Contains(why, c.why) || (why == "") != (c.why == "") {
				t.Errorf("it uses %s: %s", got, why)
			}
		})
	}
	if got, why := helperOf(filepath.Join(t.TempDir(), "nothing")); filepath.Base(got) != "nothing" || why == "" {
		t.Error("it uses", got, why)
	}
}

// Whoever wonders why logins take longer reads it in the log, once.
func TestLogTellsWhyNoHelperIsUsed(t *testing.T) {
	b := newBox(t)
	b.stop()
	program := filepath.Join(t.TempDir(), "lanyard")
	if err := os.WriteFile(program, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	log := func() string {
		t.Helper()
		var said bytes.Buffer
		d, err := Open(Options{Profile: "default", Userspace: true, Program: program, Release: "test", Log: slog.New(slog.NewTextHandler(&said, nil))})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		return said.String()
	}
	if said := log(); strings.Count(said, "in place of its helper") != 1 || !strings.Contains(said, "there is no lanyard-helper beside "+program) {
		t.Errorf("without a helper, the log is\n%s", said)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(program), helperName), fmt.Appendf(nil, "#!/bin/sh\necho '%s'\n", release.Stamp()), 0o755); err != nil {
		t.Fatal(err)
	}
	if said := log(); strings.Contains(said, "helper") {
		t.Errorf("with its helper, the log is\n%s", said)
	}
}
