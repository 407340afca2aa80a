package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The Mac's own removal, on a tree of its files in place of a Mac: it leaves the machine's identity and settings, and with
// --purge nothing, the setup key that lies beside the settings included.
func TestRemovalFromAMacLeavesNothing(t *testing.T) {
	text, err := (&job{}).script("macos.uninstall", peer, true)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	bin := filepath.Join(t.TempDir(), "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"id", "stat", "launchctl", "pkgutil"} { // who asks is root, and nobody is at the console
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n[ $0 != "+bin+"/id ] || echo 0\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text = strings.NewReplacer(" /", " "+root+"/", "\t/", "\t"+root+"/", `"/`, `"`+root+"/").Replace(text)
	kept := []string{"/Library/Application Support/Lanyard/default/state.json", "/etc/lanyard/managed.yaml", "/etc/lanyard/setup-key"}
	gone := []string{
		"/Library/LaunchDaemons/lanyard.plist", "/Library/LaunchAgents/lanyard-tray.plist", "/usr/local/bin/lanyard", "/usr/local/bin/lanyard-tray",
		"/usr/local/share/man/man1/lanyard.1", "/usr/local/share/lanyard/uninstall", "/usr/local/share/lanyard/LICENSE", "/var/log/lanyard.log", "/var/run/lanyard/default.sock",
	}
	for _, name := range append(gone, kept...) {
		if err := os.MkdirAll(filepath.Dir(root+name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(root+name, []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(args ...string) {
		t.Helper()
		c := exec.Command("sh", append([]string{"-s", "--"}, args...)...)
		c.Stdin, c.Env = strings.NewReader(text), []string{"PATH=" + bin + ":" + os.Getenv("PATH")}
		if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "Lanyard is gone.") {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	is := func(name string) bool { _, err := os.Lstat(root + name); return err == nil }
	remove()
	for _, name := range gone {
		if is(name) {
			t.Errorf("%s is still there", name)
		}
	}
	for _, name := range kept {
		if !is(name) {
			t.Errorf("%s is gone without --purge", name)
		}
	}
	remove("--purge")
	for _, name := range kept {
		if is(name) {
			t.Errorf("%s is still there after a purge", name)
		}
	}
}
