package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// debian is a tree of a machine's files, where the deb's scripts run.
type debian struct {
	t         *testing.T
	root, bin string
}

func newDebian(t *testing.T) *debian {
	t.Helper()
	dir, err := os.MkdirTemp("", "deb") // short: a socket's path has 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &debian{t, filepath.Join(dir, "r"), filepath.Join(dir, "bin")}
	for _, folder := range []string{"run", "proc/net"} {
		if err := os.MkdirAll(filepath.Join(d.root, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/proc/net/unix", filepath.Join(d.root, "proc/net/unix")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"deb-systemd-helper", "deb-systemd-invoke"} {
		standIn(t, filepath.Join(d.bin, name), "")
	}
	return d
}

// run runs one of the package's scripts.
func (d *debian) run(script, arg string) (string, error) {
	d.t.Helper()
	text, err := (&job{}).script(script, peer, false)
	if err != nil {
		d.t.Fatal(err)
	}
	c := exec.CommandContext(d.t.Context(), "sh", "-s", "--", arg)
	c.Stdin, c.Env = strings.NewReader(rooted(text, d.root)), []string{"PATH=" + d.bin + ":/usr/bin:/bin"}
	out, err := c.CombinedOutput()
	return string(out), err
}

func (d *debian) must(script, arg string) {
	d.t.Helper()
	if out, err := d.run(script, arg); err != nil || out != "" {
		d.t.Errorf("%s %s: %v\n%s", script, arg, err, out)
	}
}

// has checks which files are there.
func (d *debian) has(when string, there bool, files ...string) {
	d.t.Helper()
	for _, f := range files {
		if _, err := os.Lstat(filepath.Join(d.root, f)); (err == nil) != there {
			d.t.Errorf("%s: %s is there: %v", when, f, err == nil)
		}
	}
}

// A person's own program of that name, earlier on the PATH, is not the package's.
func TestDebCallsTheProgramThatItBrought(t *testing.T) {
	d := newDebian(t)
	calls := filepath.Join(d.root, "calls")
	standIn(t, filepath.Join(d.root, "usr/bin/lanyard"), `echo "$*" >>`+calls)
	standIn(t, filepath.Join(d.bin, "lanyard"), "echo another one")
	d.must("deb.postinst", "configure")
	d.must("deb.prerm", "upgrade")
	d.must("deb.prerm", "remove")
	if b, err := os.ReadFile(calls); err != nil || string(b) != "service ssh-config install\nservice ssh-config remove\n" {
		t.Errorf("it was called with %q, %v", b, err)
	}
}

// A setup key that no service came to use goes with the package; what an administrator settled stays until the purge.
func TestDebRemovalLeavesNoSetupKey(t *testing.T) {
	const key, settings, state = "etc/lanyard/setup-key", "etc/lanyard/managed.yaml", "var/lib/lanyard/default/state.json"
	d := newDebian(t)
	d.must("deb.postrm", "remove")
	for _, f := range []string{key, settings, state} {
		standIn(t, filepath.Join(d.root, f), "")
	}
	d.must("deb.postrm", "upgrade")
	d.has("after an upgrade", true, key, settings, state)
	d.must("deb.postrm", "remove")
	d.has("after removal", false, key)
	d.has("after removal", true, settings, state)
	d.must("deb.postrm", "purge")
	d.has("after the purge", false, "etc/lanyard", "var/lib/lanyard")
	standIn(t, filepath.Join(d.root, key), "")
	d.must("deb.postrm", "remove")
	d.has("with the key alone", false, "etc/lanyard")
}

// As 'lanyard service uninstall --purge': where the service of another profile runs, a purge would take its data.
func TestDebPurgeIsRefusedWhileAnotherProfilesServiceRuns(t *testing.T) {
	d := newDebian(t)
	listen := func(network, name string) (end func()) {
		t.Helper()
		file := filepath.Join(d.root, "run/lanyard", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		l, err := net.ListenUnix(network, &net.UnixAddr{Name: file, Net: network})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		t.Cleanup(func() { l.Close() })
		return func() { l.Close() }
	}
	const prod = "var/lib/lanyard/prod/state.json"
	all := []string{prod, "var/lib/lanyard/default/state.json", "etc/lanyard/managed.yaml"}
	for _, f := range all {
		standIn(t, filepath.Join(d.root, f), "")
	}
	listen("unix", "default.sock") // dpkg has stopped this one, or its last sessions still run
	listen("unixpacket", "default.leaving.sock")
	listen("unix", "nobody.sock") // no profile of this machine's
	end := listen("unix", "prod.sock")
	for range 2 {
		if out, err := d.run("deb.postrm", "purge"); err == nil || !strings.Contains(out, "the service of the profile 'prod' still runs ('lanyard service run --profile prod')") {
			t.Errorf("a purge beside another profile's service: %v\n%s", err, out)
		}
		d.has("after a purge that was refused", true, all...)
		// The folder of the sockets goes when the system's service stops.
		if err := os.RemoveAll(filepath.Join(d.root, "run/lanyard")); err != nil {
			t.Fatal(err)
		}
	}
	end()
	d.must("deb.postrm", "purge")
	d.has("after the purge", false, "etc/lanyard", "var/lib/lanyard")
}
