package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The deb's script leaves what a silent rollout gives it in the environment: the key in a file that nobody else reads, an
// address that is there as it is unless a key comes with another, and nothing of it in what dpkg shows. Without a rollout it leaves nothing.
func TestDebLeavesWhatARolloutGives(t *testing.T) {
	text, err := (&job{}).script("deb.postinst", peer, false)
	if err != nil {
		t.Fatal(err)
	}
	root, bin := t.TempDir(), t.TempDir()
	for _, dir := range []string{"/etc", "/dev", "/var/lib/lanyard/default"} {
		if err := os.MkdirAll(root+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	standIn(t, filepath.Join(root, "usr/bin/lanyard"), "")
	for _, name := range []string{"deb-systemd-helper", "deb-systemd-invoke"} {
		standIn(t, filepath.Join(bin, name), "")
	}
	text = rooted(text, root)
	configure := func(env ...string) {
		t.Helper()
		c := exec.Command("sh", "-s", "--", "configure")
		c.Stdin, c.Env = strings.NewReader("umask 022\n"+text), append(env, "PATH="+bin+":/usr/bin:/bin")
		if out, err := c.CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	configure()
	if _, err := os.Lstat(root + "/etc/lanyard"); err == nil {
		t.Error("without a rollout there is /etc/lanyard")
	}
	configure("LANYARD_MANAGEMENT_URL=https://lanyard.example.com#sha256=ab", "LANYARD_SETUP_KEY=lk_one", "LANYARD_ALLOW_SSH=yes")
	configure("LANYARD_MANAGEMENT_URL=https://elsewhere.example.com")
	left := func(env, key string) {
		t.Helper()
		for name, want := range map[string]string{
			"rollout.env": env, "setup-key": key + "\n",
		} {
			file := root + "/etc/lanyard/" + name
			b, err := os.ReadFile(file)
			if err != nil || string(b) != want {
				t.Errorf("%s is %q, %v", name, b, err)
			}
			if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", name, fi, err)
			}
		}
	}
	const first = "LANYARD_MANAGEMENT_URL=https://lanyard.example.com#sha256=ab\nLANYARD_ALLOW_SSH=yes\n"
	left(first, "lk_one")
	// Installed again, on a machine whose service has run: a new key is not lost, and its file is not one that others read.
	for name, text := range map[string]string{"/var/lib/lanyard/default/state.json": "{}", "/etc/lanyard/setup-key": "lk_old\n"} {
		if err := os.WriteFile(root+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(root+"/etc/lanyard/setup-key", 0o644); err != nil {
		t.Fatal(err)
	}
	configure("LANYARD_SETUP_KEY=lk_two")
	left(first, "lk_two")
	if err := os.Chmod(root+"/etc/lanyard/rollout.env", 0o644); err != nil {
		t.Fatal(err)
	}
	configure("LANYARD_MANAGEMENT_URL=https://elsewhere.example.com", "LANYARD_SETUP_KEY=lk_three")
	left("LANYARD_MANAGEMENT_URL=https://elsewhere.example.com\nLANYARD_ALLOW_SSH=no\n", "lk_three")
}
