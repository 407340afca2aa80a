//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"lanyard/platform/sessionbus/bustest"
)

// copyProgram puts a copy of this program at a path, in one step as package managers do.
func copyProgram(t *testing.T, to string) os.FileInfo {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close(), os.Rename(to+".new", to)); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(to)
	if err != nil {
		t.Fatal(err)
	}
	return fi
}

// An upgrade replaces the program and restarts the service; the tray follows, with another icon in the panel.
func TestTrayBecomesTheProgramThatReplacedIt(t *testing.T) {
	home := place(t)
	d := newService(t, socketHere())
	d.set(up(nil))
	addr, _ := bustest.Start(t)
	r := &running{t: t, addr: addr, home: home, panel: startPanel(t, addr), notes: startNotes(t, addr), conn: bustest.Connect(t, addr), exe: filepath.Join(home, "lanyard-tray")}
	was := copyProgram(t, r.exe)
	r.start()
	r.panel.item(t)
	runs := func() os.FileInfo {
		t.Helper()
		fi, err := os.Stat(fmt.Sprintf("/proc/%d/exe", r.cmd.Process.Pid))
		if err != nil {
			t.Fatalf("%v\n%s", err, r.out)
		}
		return fi
	}
	icons := func() (n int) {
		r.panel.mu.Lock()
		defer r.panel.mu.Unlock()
		for _, times := range r.panel.seen {
			n += times
		}
		return n
	}
	first := icons()
	now := copyProgram(t, r.exe)
	s := up(nil)
	s.Release = "1.1.0"
	d.stop()
	d.start()
	d.set(s)
	until(t, time.Minute, func() error {
		if is := runs(); !os.SameFile(is, now) {
			return fmt.Errorf("the old program still runs (%v)", os.SameFile(is, was))
		}
		return nil
	})
	until(t, time.Minute, func() error {
		if n := icons(); n <= first {
			return fmt.Errorf("%d icons were registered, %d before the upgrade", n, first)
		}
		return nil
	})
	select {
	case err := <-r.done:
		t.Fatalf("it ended: %v\n%s", err, r.out)
	default:
	}
}

func TestOnlyAnotherFileReplacesTheProgram(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	copyProgram(t, program)
	replaced := replacement(program)
	if replaced() {
		t.Error("the same file")
	}
	if err := os.Rename(program, program+".old"); err != nil {
		t.Fatal(err)
	}
	if replaced() {
		t.Error("removed, there is nothing to become")
	}
	copyProgram(t, program)
	if !replaced() {
		t.Error("another file goes unnoticed")
	}
	if replacement(program + ".gone")() {
		t.Error("a program that cannot be looked at")
	}
}
