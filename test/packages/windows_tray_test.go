//go:build linux

package packages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
	"lanyard/test/wine"
)

const installedTray = `C:\Program Files\Lanyard\lanyard-tray.exe`

// screen starts an X server for what draws, and returns its name.
func screen(t *testing.T) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	c := exec.CommandContext(ctx, "Xvfb", "-displayfd", "3", "-screen", "0", "640x480x24", "-nolisten", "tcp", "-noreset")
	c.ExtraFiles = []*os.File{w}
	err = c.Start()
	w.Close()
	if err != nil {
		stop()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = c.Wait()
	})
	if err := r.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	number := make([]byte, 16)
	n, err := r.Read(number)
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return ":" + strings.TrimSpace(string(number[:n]))
}

// trays lists the processes of the machine's tray that show something.
func trays(m *wine.Machine) (list []string) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		line, err := os.ReadFile(filepath.Join(d, "cmdline"))
		if name, _, _ := strings.Cut(string(line), "\x00"); err != nil || name != installedTray {
			continue
		}
		env, err := os.ReadFile(filepath.Join(d, "environ"))
		if err != nil || !bytes.Contains(env, []byte("WINEPREFIX="+m.Dir+"\x00")) {
			continue
		}
		if maps, err := os.ReadFile(filepath.Join(d, "maps")); err == nil && bytes.Contains(maps, []byte("winex11")) { // it has a window
			list = append(list, filepath.Base(d))
		}
	}
	return list
}

// An upgrade replaces the programs that run, at once and for good, and the tray becomes the new one; removal ends it.
func TestMSIRestartsTheTray(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	var packages []string
	for _, version := range []string{"1.0.0", "1.0.1"} {
		tray, err := wine.Program(t.Context(), build, "lanyard-tray.exe", "tray", version, "-H=windowsgui")
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, msiWith(t, version, windowsProgram(t, "lanyard.exe", "service", version), tray))
	}
	m := openWindows(t)
	before := snapshot(t, m)
	msiexec := func(args ...string) {
		t.Helper()
		// Its output goes nowhere: what Wine starts beside keeps it open.
		if err := m.Command(within(t, 6*time.Minute), "msiexec", append(args, "/qn")...).Run(); err != nil {
			t.Fatalf("msiexec %s: %v", args, err)
		}
	}
	shows := func(what string, good func([]string) bool) []string {
		t.Helper()
		var now []string
		if err := lab.Until(within(t, 3*time.Minute), what, func() error {
			if now = trays(m); !good(now) {
				return fmt.Errorf("there are %q", now)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return now
	}
	msiexec("/i", packages[0])
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	desk := m.Command(ctx, "explorer", "/desktop=desk,640x480", installedTray)
	desk.Env = append(desk.Env, "DISPLAY="+screen(t))
	if err := desk.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		stop()
		_ = desk.Wait()
	}()
	first := shows("the tray", func(now []string) bool { return len(now) == 1 })

	msiexec("/i", upgrading(t, packages[1]))
	shows("the new tray alone", func(now []string) bool { return len(now) == 1 && now[0] != first[0] })
	for _, program := range []string{installed, installedTray} {
		if said, err := m.Run(within(t, 3*time.Minute), program, "--version"); err != nil || !strings.Contains(said, "1.0.1") {
			t.Errorf("%s is of version %q, %v", program, said, err)
		}
	}
	if r, err := m.Registry(within(t, 3*time.Minute), `HKLM\System\CurrentControlSet\Control\Session Manager`); err != nil || r == "" || strings.Contains(r, "PendingFileRenameOperations") {
		t.Errorf("the machine is to be restarted (%v): %s", err, r)
	}
	if err := lab.Until(within(t, 3*time.Minute), "the old programs to go", func() error {
		there, err := os.ReadDir(m.Path(`C:\Program Files\Lanyard`))
		if err == nil && !slices.EqualFunc(there, []string{"lanyard-tray.exe", "lanyard.exe"}, func(e os.DirEntry, want string) bool { return e.Name() == want }) {
			err = fmt.Errorf("the package's folder holds %v", there)
		}
		return err
	}); err != nil {
		t.Error(err)
	}

	msiexec("/x", packages[1])
	shows("no tray", func(now []string) bool { return len(now) == 0 })
	ours := func(line string) bool { return strings.Contains(strings.ToLower(line), "lanyard") }
	if left := stays(t, m, before, func(line string) bool { return !ours(line) }); len(left) > 0 {
		t.Errorf("removal left or took:\n%s", strings.Join(left, "\n"))
	}
}
