//go:build linux

package packages

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// release is the packages of one version.
type release struct {
	dir          string // where all of them lie
	peer, server string // the debs
}

// rpm is the file of a package in that format.
func (r release) rpm(name string) string {
	return filepath.Join(r.dir, name+"-"+filepath.Base(r.dir)+"-1.x86_64.rpm")
}

var (
	buildOnce       sync.Once
	v1, v2          release
	versions        = [2]string{"1.0.0", "1.1.0"}
	setupKeyPattern = regexp.MustCompile(`lk_[A-Za-z0-9_.-]+`)
)

// releases builds two versions: of the first everything that the tests need, of the second what is upgraded to.
func releases(t *testing.T) (release, release) {
	t.Helper()
	buildOnce.Do(func() {
		for i, v := range versions {
			dir := filepath.Join(built, "releases", v)
			args := []string{"build", "--source", "../..", "--out", dir, "--version", v, "--stamp", stamp}
			if i == 0 {
				run(t, pack, append(args, "--formats", "deb,rpm", "--archs", "amd64")...)
			} else {
				run(t, pack, append(args, "--packages", "lanyard", "--formats", "deb,rpm", "--archs", "amd64")...)
			}
			r := release{dir, filepath.Join(dir, "lanyard_"+v+"-1_amd64.deb"), filepath.Join(dir, "lanyard-mgmt_"+v+"-1_amd64.deb")}
			if i == 0 {
				v1 = r
			} else {
				v2 = r
			}
		}
	})
	if v2.peer == "" {
		t.Fatal("the packages were not built")
	}
	return v1, v2
}

// network is a server and two machines of it.
func network(t *testing.T, w *town, r release) (office, web, runner *box) {
	t.Helper()
	var booting sync.WaitGroup
	office, web, runner = w.make("office", 1), w.make("web-1", 2), w.make("runner", 3)
	for _, b := range []*box{office, web, runner} {
		booting.Go(b.start)
	}
	booting.Wait()
	office.write("/etc/default/lanyard-mgmt", "LANYARD_MGMT_OPTIONS=\"--listen "+office.addr+":443\"\n")
	if out, err := office.try("dpkg", "--force-confold", "--install", office.carry(r.server)); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, office.journal())
	}
	if s := office.property("lanyard-mgmt", "ActiveState"); s != "active" {
		t.Fatalf("the server is %s\n%s", s, office.journal())
	}
	mgmt := func(args ...string) string { return office.do("lanyard-mgmt", args...) }
	var join []string
	until(t, 90*time.Second, "the join command in the log", func() error {
		log := office.journal()
		if join = regexp.MustCompile(`lanyard up (https://\S+)`).FindStringSubmatch(log); join == nil {
			return errors.New(log)
		}
		return nil
	})
	for b, tag := range map[*box]string{web: "tag:web", runner: "tag:runner"} {
		key := setupKeyPattern.FindString(mgmt("setup-key", "new", "--uses", "1", "--expires", "1h", "--tag", tag))
		b.before = b.holdings()
		b.mustInstall(r.peer)
		b.write("/root/key", key+"\n")
		b.do("lanyard", "up", join[1], "--setup-key-file", "/root/key", fmt.Sprintf("--allow-ssh=%v", b == web))
	}
	web.do("useradd", "--create-home", "--shell", "/bin/bash", "deploy")
	runner.do("useradd", "--create-home", "--shell", "/bin/bash", "ansible")
	mgmt("policy", "add", "playbooks", "--from", "machine:runner/ansible", "--to", "tag:web", "--as", "deploy")
	return office, web, runner
}

func (b *box) carry(deb string) string {
	b.t.Helper()
	data, err := os.ReadFile(deb)
	if err != nil {
		b.t.Fatal(err)
	}
	name := "/root/" + filepath.Base(deb)
	if err := os.WriteFile(filepath.Join(b.root, name), data, 0o644); err != nil {
		b.t.Fatal(err)
	}
	return name
}

func (b *box) as(account string, args ...string) (string, error) {
	return b.try("runuser", append([]string{"-u", account, "--", "env", "HOME=/home/" + account}, args...)...)
}

func TestInstalledMachinesReachEachOtherAndOutliveAnUpgrade(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	one, two := releases(t)
	office, web, runner := network(t, w, one)
	if s := web.property("lanyard", "StatusErrno") + web.property("lanyard", "ActiveState") + web.property("lanyard", "SubState"); s != "0activerunning" {
		t.Fatalf("the service is %s", s)
	}
	const target = "deploy@web-1.lanyard.internal"
	until(t, 120*time.Second, "ssh", func() error {
		out, err := runner.as("ansible", "ssh", target, "id -un; sudo -n true; cat /proc/self/status | grep CapBnd")
		if !strings.HasPrefix(out, "deploy\n") {
			return fmt.Errorf("%w: %s\n%s", err, out, web.journal())
		}
		return nil
	})
	t.Run("sessions differ from OpenSSH's as listed only", func(t *testing.T) { sessionsAreOpenSSHs(t, office, web, runner) })
	before := web.property("lanyard", "MainPID")
	long := runner.hold(target)

	// A gigabyte, held back so that it takes longer than the upgrade.
	runner.do("runuser", "-u", "ansible", "--", "dd", "if=/dev/urandom", "of=/home/ansible/big", "bs=1M", "count=1024", "status=none")
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
	defer cancel()
	scp := runner.command(ctx, "runuser", "-u", "ansible", "--", "env", "HOME=/home/ansible", "scp", "-q", "-l", "400000", "/home/ansible/big", target+":big")
	copying := make(chan error, 1)
	go func() {
		out, err := scp.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		copying <- err
	}()
	size := func() int64 {
		fi, err := os.Stat(filepath.Join(web.root, "home/deploy/big"))
		if err != nil {
			return 0
		}
		return fi.Size()
	}
	until(t, 180*time.Second, "scp begins", func() error {
		if size() < 16<<20 {
			return errors.New("not yet")
		}
		return nil
	})
	web.mustInstall(two.peer)
	at := size()
	select {
	case err := <-copying:
		t.Fatalf("scp ended before the upgrade did: %v", err)
	default:
	}
	if at >= 1<<30 {
		t.Fatal("scp was done before the upgrade")
	}
	t.Logf("upgraded when %d MiB of 1024 were there", at>>20)
	if after := web.property("lanyard", "MainPID"); after == before {
		t.Fatal("the same process runs after the upgrade")
	}
	if out := web.do("lanyard", "--version"); !strings.Contains(out, versions[1]) {
		t.Fatalf("version %s", out)
	}
	status := web.do("lanyard", "status", "--json")
	if !strings.Contains(status, `"release": "`+versions[1]+`"`) || !strings.Contains(status, `"local_user": "deploy"`) {
		t.Fatalf("the new service does not show the session of the old one:\n%s", status)
	}
	// The new one serves new sessions beside it.
	if out, err := runner.as("ansible", "ssh", target, "id -un"); err != nil || !strings.HasSuffix(out, "deploy\n") {
		t.Fatalf("%v: %s\n%s", err, out, web.journal())
	}
	if err := <-copying; err != nil {
		t.Fatalf("%v\n%s", err, web.journal())
	}
	sum := func(b *box, path string) string { return strings.Fields(b.do("sha256sum", path))[0] }
	if sum(runner, "/home/ansible/big") != sum(web, "/home/deploy/big") {
		t.Fatal("the copy differs")
	}
	// The old process serves the session that it had; a revocation reaches it there.
	web.services(3) // a keeper, the new and the old one
	select {
	case err := <-long.ended:
		t.Fatalf("the session did not outlive the upgrade: %v: %s", err, long.text())
	default:
	}
	office.do("lanyard-mgmt", "policy", "remove", "playbooks")
	long.ends(t, 5*time.Second, "A policy change ended your access")
	web.oldEnds()
	office.do("lanyard-mgmt", "policy", "add", "playbooks", "--from", "machine:runner/ansible", "--to", "tag:web", "--as", "deploy")
	// Both ends of both sessions are in the audit log.
	until(t, 60*time.Second, "audit", func() error {
		out := office.do("lanyard-mgmt", "audit", "--json", "-n", "0")
		starts, ends := strings.Count(out, `"session.start"`), strings.Count(out, `"session.end"`)
		if starts < 4 || starts != ends {
			return fmt.Errorf("%d starts, %d ends", starts, ends)
		}
		return nil
	})
	incompatible(t, web, runner, target)
	bootsAlone(t, office, runner)
	leavesNothing(t, web, runner)
}

func TestPackageLife(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	one, two := releases(t)
	b := w.boot("life", 1)
	b.mustInstall(one.peer)
	if s := b.property("lanyard", "ActiveState") + " " + b.property("lanyard", "UnitFileState"); s != "active enabled" {
		t.Fatalf("after installation: %s\n%s", s, b.journal())
	}
	identity := func() string {
		t.Helper()
		return b.do("sha256sum", "/var/lib/lanyard/default/state.json")
	}
	first := identity()

	// Who installs the service once more gets no unit that would hide the package's and outlive it.
	b.do("lanyard", "service", "install")
	if fi, err := os.Lstat(filepath.Join(b.root, "/etc/systemd/system/lanyard.service")); err == nil || b.property("lanyard", "ActiveState") != "active" {
		t.Errorf("'lanyard service install' beside the package: %v", fi)
	}

	b.exposed("lanyard.service", 9.6) // sessions inherit from it: nothing may bind a person's own shell
	// Killed, it is back.
	b.back("lanyard", "lanyard", "status")

	// An upgrade keeps the identity and what an administrator wrote and disabled.
	b.write("/etc/default/lanyard", "# mine\n")
	b.do("systemctl", "disable", "lanyard")
	if out, err := b.try("dpkg", "--force-confold", "--install", b.carry(two.peer)); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if s := b.property("lanyard", "UnitFileState"); s != "disabled" {
		t.Errorf("disabled, it was %s after the upgrade", s)
	}
	if identity() != first {
		t.Error("the upgrade changed the machine's identity")
	}
	if s := b.do("cat", "/etc/default/lanyard"); s != "# mine\n" {
		t.Errorf("the administrator's file became %q", s)
	}

	// A downgrade is refused, and leaves everything as it was.
	out, err := b.install(one.peer)
	if err == nil || !strings.Contains(out, "is older") {
		t.Errorf("the downgrade was not refused: %v\n%s", err, out)
	}
	if v := b.do("dpkg-query", "-W", "-f", "${Version} ${db:Status-Status}", "lanyard"); v != versions[1]+"-1 installed" {
		t.Errorf("after the refused downgrade: %s", v)
	}
	if out := b.do("lanyard", "--version"); !strings.Contains(out, versions[1]) {
		t.Errorf("after the refused downgrade: %s", out)
	}

	// Removal leaves the identity, purge nothing.
	b.do("dpkg", "--remove", "lanyard")
	b.ended("lanyard", "after removal")
	if identity() != first {
		t.Error("removal touched the machine's identity")
	}
	for _, gone := range []string{"/usr/bin/lanyard", "/run/lanyard", "/etc/ssh/ssh_config.d/20-lanyard.conf"} {
		if _, err := b.try("test", "!", "-e", gone); err != nil { // from the inside, which has its own /run
			t.Errorf("%s is still there after removal", gone)
		}
	}
	b.do("dpkg", "--purge", "lanyard")
	if out := b.traces(); out != "" {
		t.Errorf("after the purge there is still:\n%s", out)
	}
	b.mustInstall(two.peer)
	if s := b.property("lanyard", "ActiveState") + " " + b.property("lanyard", "UnitFileState"); s != "active enabled" {
		t.Errorf("installed again after a purge: %s\n%s", s, b.journal())
	}
	if identity() == first {
		t.Error("the purged identity is back")
	}
}

func TestLintianAndShellcheckAreClean(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	one, _ := releases(t)
	if out := run(t, "lintian", "--allow-root", "--fail-on", "warning,error", one.peer, one.server); out != "" {
		t.Error(out)
	}
	scripts, err := filepath.Glob("../../installer/scripts/*.sh")
	if err != nil || len(scripts) < 15 {
		t.Fatalf("%d scripts, %v", len(scripts), err)
	}
	run(t, "shellcheck", append([]string{"-s", "sh"}, scripts...)...)
	// rc.d's and OpenRC's: what they set is read by what they source, which is not here.
	services, err := filepath.Glob("../../installer/units/*rc")
	if err != nil || len(services) != 4 {
		t.Fatalf("%q, %v", services, err)
	}
	run(t, "shellcheck", append([]string{"-s", "sh", "--exclude", "SC1091,SC2034,SC2154"}, services...)...)
	run(t, "desktop-file-validate", "../../installer/files/lanyard-tray.desktop")
}
