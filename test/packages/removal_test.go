//go:build linux

package packages

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// traces are the paths of a machine that are named for Lanyard, outside of root's home and the logs.
func (b *box) traces() string {
	b.t.Helper()
	return b.do("sh", "-c", "find / -xdev -iname '*lanyard*' -not -path '/proc/*' -not -path '/sys/*' -not -path '/root/*' -not -path '/var/log/*' -not -path '/run/systemd/*' | sort")
}

// read is a file of the machine.
func (b *box) read(path string) string {
	b.t.Helper()
	data, err := os.ReadFile(filepath.Join(b.root, path))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(data)
}

// enrolled reports what a machine that is part of a network holds beside its package: a test of its removal which finds
// less shows nothing.
func (b *box) enrolled() {
	b.t.Helper()
	if hosts := b.read("/etc/hosts"); !strings.Contains(hosts, "# BEGIN Lanyard default") || !strings.Contains(hosts, "web-1.lanyard.internal") {
		b.t.Fatalf("the machine's hosts file has no names of the network:\n%s", hosts)
	}
	if dropIn := b.read("/etc/ssh/ssh_config.d/20-lanyard.conf"); !strings.Contains(dropIn, "web-1.lanyard.internal") {
		b.t.Fatalf("the machine's ssh knows no machine of the network:\n%s", dropIn)
	}
	for _, name := range []string{"state.json", "map.json", "known_hosts", "spool"} {
		if _, err := os.Lstat(filepath.Join(b.root, "/var/lib/lanyard/default", name)); err != nil {
			b.t.Fatal(err)
		}
	}
}

// left compares a machine with what it held before Lanyard came. What fits any of the patterns may have come or changed.
func (b *box) left(when string, before map[string]string, may ...string) {
	b.t.Helper()
	fits := regexp.MustCompile(strings.Join(may, "|")).MatchString
	for _, line := range difference(before, b.holdings()) {
		if !fits(line) {
			b.t.Errorf("%s: %s", when, line)
		}
	}
}

// Two machines of a network lose the package: one whose service was killed and never ran again, by removal and then purge,
// the other at once, with its service running.
func leavesNothing(t *testing.T, web, runner *box) {
	t.Helper()
	const (
		account = `^~ /etc/(passwd|group|shadow|gshadow|subuid|subgid)$|^\+ /home/ansible(/|$)` // made since, with the person's own sign-ins
		data    = `^\+ /var/lib/lanyard(/|$)`
		// Configuration that an administrator may have changed, and what dpkg and systemd's idiom keep for a purge.
		conffiles = `^\+ /etc/(default/lanyard|xdg/autostart(/lanyard-tray\.desktop)?|systemd/system/lanyard\.service)$`
		dpkg      = `^\+ /var/lib/dpkg/info/lanyard\.(list|postrm)$|^[+-] /var/lib/dpkg/(status|info/format)`
	)
	runner.enrolled()
	signIns := runner.do("sh", "-c", "sha256sum /home/ansible/.ssh/*")
	runner.do("dpkg", "--remove", "lanyard")
	runner.left("after removal", runner.before, account, data, conffiles, dpkg)
	if _, err := os.Lstat(filepath.Join(runner.root, "/var/lib/lanyard/default/known_hosts")); err == nil {
		t.Error("after removal the machines' host keys are still there for ssh")
	}
	runner.do("dpkg", "--purge", "lanyard")
	runner.left("after the purge", runner.before, account)
	if now := runner.do("sh", "-c", "sha256sum /home/ansible/.ssh/*"); now != signIns {
		t.Errorf("what is ansible's changed from\n%sto\n%s", signIns, now)
	}

	web.enrolled()
	web.do("dpkg", "--purge", "lanyard")
	for name, text := range map[string]string{"/etc/hosts": web.before["/etc/hosts"], "/etc/ssh/ssh_config": web.before["/etc/ssh/ssh_config"]} {
		if now := web.read(name); now != text {
			t.Errorf("after the purge %s is\n%swhere it was\n%s", name, now, text)
		}
	}
	if out := web.traces(); out != "" {
		t.Errorf("after the purge there is still:\n%s", out)
	}
	if out, err := web.try("pgrep", "-x", "lanyard"); err == nil {
		t.Errorf("after the purge there still runs: %s", out)
	}
}
