package tools

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
)

// told is a test that notes how it ends.
type told struct {
	testing.TB
	how string
}

func (t *told) Helper()                   {}
func (t *told) Fatalf(f string, a ...any) { t.end("fails: "+f, a) }
func (t *told) Skipf(f string, a ...any)  { t.end("is skipped: "+f, a) }

func (t *told) end(f string, a []any) {
	t.how = fmt.Sprintf(f, a...)
	runtime.Goexit()
}

// Only who cannot install a program may go without it.
func TestRootSkipsNothing(t *testing.T) {
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	if err := os.WriteFile(bin+"/here", []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		root     bool
		programs []string
		how      string
	}{
		{true, []string{"here"}, ""},
		{false, []string{"here"}, ""},
		{true, []string{"here", "gone"}, "fails: gone is missing; 'make check-tools'"},
		{false, []string{"here", "gone"}, "is skipped: needs root: gone "},
	} {
		seen, done := &told{}, make(chan struct{})
		go func() {
			defer close(done)
			need(seen, c.root, "check-tools", c.programs)
		}()
		<-done
		if !strings.HasPrefix(seen.how, c.how) || (seen.how == "") != (c.how == "") {
			t.Errorf("%v, as root %v: the test %q, want %q", c.programs, c.root, seen.how, c.how)
		}
	}
}
