package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// ownPlaces are where the packages' scripts look and write.
var ownPlaces = regexp.MustCompile(`([\s"<>])(/(etc|usr|var|run|proc|lib|Library)/)`)

// rooted is a script for a tree of files in place of the machine's.
func rooted(text, root string) string { return ownPlaces.ReplaceAllString(text, "${1}"+root+"${2}") }

// standIn writes a shell script that does this.
func standIn(t *testing.T, file, does string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	writeProgram(t, file, "#!/bin/sh\n"+does+"\n")
}

// writeProgram writes a file that is executed. Nothing is started meanwhile by another test: what is started has each open
// file until it executes its own program, and a file that somebody may write cannot be executed.
func writeProgram(t *testing.T, file, text string) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// A setup key that no service came to use goes with the package and stays through an upgrade; what an administrator settled
// stays.
func TestRemovalByAPackageLeavesNoSetupKey(t *testing.T) {
	for name, c := range map[string]struct {
		config           string
		upgrade, removal []string // arguments; with "=", the environment
	}{
		"rpm.postun":            {"etc/lanyard", []string{"1"}, []string{"0"}},
		"arch.pre-remove":       {"etc/lanyard", nil, []string{"1.2.3-1"}}, // an upgrade does not run it
		"freebsd.pre-deinstall": {"usr/local/etc/lanyard", []string{"PKG_UPGRADE=true"}, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := (&job{}).script(name, peer, false)
			if err != nil {
				t.Fatal(err)
			}
			root, bin := t.TempDir(), t.TempDir()
			for _, program := range []string{filepath.Join(root, "usr/bin/lanyard"), filepath.Join(root, "usr/local/bin/lanyard")} {
				standIn(t, program, "")
			}
			standIn(t, filepath.Join(bin, "service"), "exit 1") // it does not run
			key, settings := filepath.Join(root, c.config, "setup-key"), filepath.Join(root, c.config, "managed.yaml")
			is := func(file string) bool { _, err := os.Lstat(file); return err == nil }
			run := func(args []string) {
				t.Helper()
				cmd := exec.CommandContext(t.Context(), "sh", "-s", "--")
				cmd.Env = []string{"PATH=" + bin + ":/usr/bin:/bin"}
				for _, a := range args {
					if strings.Contains(a, "=") {
						cmd.Env = append(cmd.Env, a)
					} else {
						cmd.Args = append(cmd.Args, a)
					}
				}
				cmd.Stdin = strings.NewReader(rooted(text, root))
				if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
					t.Errorf("%q: %v\n%s", args, err, out)
				}
			}
			run(c.removal) // there is none
			standIn(t, key, "")
			standIn(t, settings, "")
			if c.upgrade != nil {
				if run(c.upgrade); !is(key) {
					t.Error("an upgrade took the key")
				}
			}
			if run(c.removal); is(key) || !is(settings) {
				t.Errorf("after removal the key is there: %v, the settings: %v", is(key), is(settings))
			}
			if err := os.Remove(settings); err != nil {
				t.Fatal(err)
			}
			standIn(t, key, "")
			if run(c.removal); is(filepath.Dir(key)) {
				t.Error("a folder with nothing in it stays")
			}
		})
	}
}
