//go:build linux

package packages

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// traces are the paths of a machine that are named for Lanyard, outside of root's home and the logs.
func (b *box) traces() string {
	b.t.Helper()
	return b.do("sh", "-c", "find / /run -xdev -iname '*lanyard*' -not -path '/proc/*' -not -path '/sys/*' -not -path '/root/*' -not -path '/var/log/*' -not -path '/var/tmp/*' -not -path '/run/systemd/*' | sort")
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

// enrolled is about a machine that is part of a network, as is the one with this name: it must hold what a test of its
// removal is to find gone.
func (b *box) enrolled(name string) {
	b.t.Helper()
	if hosts := b.read("/etc/hosts"); !strings.Contains(hosts, "# BEGIN Lanyard default") || !strings.Contains(hosts, name+".lanyard.internal") {
		b.t.Fatalf("the machine's hosts file has no names of the network:\n%s", hosts)
	}
	if dropIn := b.read("/etc/ssh/ssh_config.d/20-lanyard.conf"); !strings.Contains(dropIn, "lanyard") {
		b.t.Fatalf("the machine's ssh is not told of the network:\n%s", dropIn)
	}
	for _, file := range []string{"state.json", "map.json", "known_hosts", "spool"} {
		if _, err := os.Lstat(filepath.Join(b.root, "/var/lib/lanyard/default", file)); err != nil {
			b.t.Fatal(err)
		}
	}
}

// joinOwn makes a machine part of the network of its own server, which was started since it booted and has said so in
// its log.
func (b *box) joinOwn() {
	b.t.Helper()
	var join []string
	until(b.t, 60*time.Second, "the join command in the log", func() error {
		log := b.journal()
		all := regexp.MustCompile(`lanyard up (https://\S+)`).FindAllStringSubmatch(log, -1)
		if len(all) == 0 {
			return errors.New(log)
		}
		join = all[len(all)-1]
		return nil
	})
	key := setupKeyPattern.FindString(b.do("lanyard-mgmt", "setup-key", "new", "--uses", "1", "--expires", "1h", "--tag", "tag:own"))
	b.write("/root/key", key+"\n")
	b.do("lanyard", "up", join[1], "--setup-key-file", "/root/key")
	name := strings.TrimSpace(b.read("/etc/hostname"))
	until(b.t, 60*time.Second, "the machine's own name", func() error {
		if hosts := b.read("/etc/hosts"); !strings.Contains(hosts, name+".lanyard.internal") {
			return errors.New(hosts)
		}
		return nil
	})
	b.enrolled(name)
}

// crashed puts back what a service that was killed leaves in the hosts file, which one that ends takes away.
func (b *box) crashed() {
	b.t.Helper()
	hosts := b.read("/etc/hosts")
	const other = "/run/lanyard/prod.sock" // another profile's, whose service goes on
	b.do("touch", other)
	b.do("systemctl", "stop", "lanyard")
	b.do("rm", other)
	if b.read("/etc/hosts") == hosts {
		b.t.Fatal("a service that stops leaves the network's names in the hosts file")
	}
	b.write("/etc/hosts", hosts)
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
	runner.enrolled("web-1")
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

	web.enrolled("runner")
	web.do("dpkg", "--purge", "lanyard")
	for name, text := range map[string]string{"/etc/hosts": web.before["/etc/hosts"], "/etc/ssh/ssh_config": web.before["/etc/ssh/ssh_config"]} {
		if now := web.read(name); now != text {
			t.Errorf("after the purge %s is\n%swhere it was\n%s", name, now, text)
		}
	}
	web.ended("lanyard", "after the purge")
	if out := web.traces(); out != "" {
		t.Errorf("after the purge there is still:\n%s", out)
	}
}
