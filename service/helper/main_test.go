//go:build unix

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// What the helper does not know, lanyard does: with the same arguments and environment, from beside it or from where
// packages put it.
func TestHelperLeavesTheRestToLanyard(t *testing.T) {
	dir := t.TempDir()
	helper := filepath.Join(dir, "lib", "lanyard", "lanyard-helper")
	out, err := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-X main.stamped=1.2.3", "-o", helper, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run := func(args ...string) (string, int) {
		t.Helper()
		c := exec.Command(helper, args...)
		c.Env = []string{"WHO=somebody", "PATH=/nowhere", "HOME=" + dir}
		out, err := c.CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return string(out), c.ProcessState.ExitCode()
	}
	if out, exit := run("version"); out != "1.2.3\n" || exit != 0 {
		t.Errorf("it says that it is of %q (%d)", out, exit)
	}
	prepare := []string{"openssh", "prepare", "default", "p1"}
	if out, exit := run(prepare...); exit != 127 || strings.Count(out, "\n") != 1 || !strings.Contains(out, "the program lanyard is not where") {
		t.Errorf("without lanyard: %d %q", exit, out)
	}
	for _, at := range []string{"bin/lanyard", "lib/lanyard/lanyard"} { // the second counts before the first
		file := filepath.Join(dir, at)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("#!/bin/sh\necho "+at+" \"$WHO\" \"$@\"\nexit 7\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if out, exit := run(prepare...); exit != 7 || out != at+" somebody openssh prepare default p1\n" {
			t.Errorf("with %s: %d %q", at, exit, out)
		}
	}
	// What early knows does not need lanyard.
	if out, exit := run("openssh", "session-program", dir, "/bin/sh", "sh", "-c", "pwd; exit 3"); exit != 3 || strings.TrimSpace(out) == "" || strings.Contains(out, "somebody") {
		t.Errorf("a session's program: %d %q", exit, out)
	}
	group := strconv.Itoa(syscall.Getpgrp())
	for _, c := range []struct {
		group string
		exit  int
	}{{group, 0}, {"1", 2}, {"x", 2}} {
		if out, exit := run("openssh", "session-signal", "0", c.group); exit != c.exit || out != "" {
			t.Errorf("a signal to the group %s: %d %q", c.group, exit, out)
		}
	}
}
