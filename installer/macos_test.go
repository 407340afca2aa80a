package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The Mac's own removal, on a tree of its files in place of a Mac: it leaves the machine's identity and settings, but no
// setup key that lies beside them, and with --purge nothing.
func TestRemovalFromAMacLeavesNothing(t *testing.T) {
	text, err := (&job{}).script("macos.uninstall", peer, true)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	bin := filepath.Join(t.TempDir(), "bin")
	for _, name := range []string{"id", "stat", "launchctl", "pkgutil"} { // who asks is root, and nobody is at the console
		standIn(t, filepath.Join(bin, name), "echo $0 >>"+bin+"/asked; [ $0 != "+bin+"/id ] || echo 0")
	}
	text = rooted(text, root)
	kept := []string{"/Library/Application Support/Lanyard/default/state.json", "/etc/lanyard/managed.yaml"}
	gone := []string{
		"/Library/LaunchDaemons/lanyard.plist", "/Library/LaunchAgents/lanyard-tray.plist", "/usr/local/bin/lanyard", "/usr/local/bin/lanyard-tray",
		"/usr/local/share/man/man1/lanyard.1", "/usr/local/share/lanyard/uninstall", "/usr/local/share/lanyard/LICENSE", "/var/log/lanyard.log", "/var/run/lanyard/default.sock",
		"/etc/lanyard/setup-key",
	}
	for _, name := range append(gone, kept...) {
		standIn(t, root+name, "")
	}
	try := func(args ...string) (string, error) {
		c := exec.Command("sh", append([]string{"-s", "--"}, args...)...)
		c.Stdin, c.Env = strings.NewReader(text), []string{"PATH=" + bin + ":" + os.Getenv("PATH")}
		out, err := c.CombinedOutput()
		return string(out), err
	}
	remove := func(args ...string) {
		t.Helper()
		if out, err := try(args...); err != nil || !strings.Contains(out, "Lanyard is gone.") {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	is := func(name string) bool { _, err := os.Lstat(root + name); return err == nil }
	// The program says whether a purge may begin: not where the service of another profile runs. Then nothing is stopped.
	const lanyard = "/usr/local/bin/lanyard"
	standIn(t, root+lanyard, `[ "$*" != "service may-purge" ] || { echo "not yet" >&2; exit 1; }`)
	if out, err := try("--purge"); err == nil || !strings.Contains(out, "not yet") {
		t.Errorf("the program says that a purge may not begin: %v\n%s", err, out)
	}
	for _, name := range append(gone, kept...) {
		if !is(name) {
			t.Errorf("%s is gone, and the purge may not begin", name)
		}
	}
	if asked, err := os.ReadFile(filepath.Join(bin, "asked")); err != nil || strings.Contains(string(asked), "launchctl") {
		t.Errorf("a purge that may not begin ran %s (%v)", asked, err)
	}
	// Another profile's service is asked by its socket.
	const other = "/var/run/lanyard/prod.sock"
	standIn(t, root+other, "")
	remove()
	if !is(other) {
		t.Error("removal took the socket of another profile's service")
	}
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
	for _, name := range append(kept, "/var/run/lanyard", "/etc/lanyard") {
		if is(name) {
			t.Errorf("%s is still there after a purge", name)
		}
	}
}
