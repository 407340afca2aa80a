//go:build linux

package packages

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
)

// holdings is what a machine holds outside of what changes by itself: every path, with the content of small files.
func (b *box) holdings() map[string]string {
	b.t.Helper()
	all := map[string]string{}
	// Caches of accounts, the journal, and what systemd and this test keep for themselves.
	own := regexp.MustCompile(`^/(proc|sys|dev|run|tmp|root|var/log|var/tmp|var/backups|var/lib/systemd)(/|$)|^/etc/(passwd|group|shadow|gshadow|subuid|subgid)-$|\.lock$`).MatchString
	if err := filepath.WalkDir(b.root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // gone since its folder was read
			return nil
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, b.root)
		if own(name) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		fi, err := d.Info()
		text := []byte(nil)
		if err == nil && d.Type().IsRegular() && fi.Size() < 1<<16 && strings.HasPrefix(name, "/etc/") {
			text, err = os.ReadFile(path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		all[name] = string(text)
		return err
	}); err != nil {
		b.t.Fatal(err)
	}
	return all
}

// difference lists what came, went and changed.
func difference(before, after map[string]string) (list []string) {
	for name, text := range after {
		if old, ok := before[name]; !ok {
			list = append(list, "+ "+name)
		} else if old != text {
			list = append(list, "~ "+name)
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			list = append(list, "- "+name)
		}
	}
	slices.Sort(list)
	return list
}

// back kills a unit's main process and waits for the next, which must be there within three seconds: what else this machine
// does only adds to it.
func (b *box) back(unit string, answers ...string) {
	t := b.t
	t.Helper()
	const most = 3 * time.Second
	took := time.Hour
	for try := 0; try < 3 && took > most; try++ {
		pid := b.property(unit, "MainPID")
		watch := lab.StartWatch()
		b.do("kill", "-KILL", pid)
		until(t, 90*time.Second, unit+" is back", func() error {
			if out, err := b.try(answers[0], answers[1:]...); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			if b.property(unit, "MainPID") == pid {
				return errors.New("the old one")
			}
			return nil
		})
		took = min(took, watch.Took())
		t.Logf("killed, %s was back after %s", unit, time.Since(watch.Began()).Round(time.Millisecond))
		watch.Stop()
	}
	if took > most {
		t.Errorf("%s was back after %s, want 3 s", unit, took)
	}
}

var exposure = regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`)

// exposed is what systemd-analyze security says of a unit: 0 (bound by everything) to 10.
func (b *box) exposed(unit string, bound float64) {
	b.t.Helper()
	out := b.do("systemd-analyze", "--no-pager", "security", unit)
	m := exposure.FindStringSubmatch(out)
	if m == nil {
		b.t.Fatalf("systemd-analyze security %s says %s", unit, out)
	}
	level, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Logf("systemd-analyze security %s: %.1f", unit, level)
	if level > bound {
		b.t.Errorf("%s has an exposure of %.1f, want at most %.1f\n%s", unit, level, bound, out)
	}
	if out := b.do("systemd-analyze", "--no-pager", "--man=no", "verify", unit); out != "" {
		b.t.Errorf("systemd-analyze verify %s: %s", unit, out)
	}
}

// The management server, as a service from a program that no package brought.
func TestServerFromAPlainProgram(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	b := w.boot("plain", 1)
	for _, name := range []string{"lanyard", "lanyard-mgmt"} {
		program, err := os.ReadFile(filepath.Join(built, "bin", name))
		if err != nil {
			t.Fatal(err)
		}
		b.write("/usr/local/bin/"+name, string(program))
		b.do("chmod", "755", "/usr/local/bin/"+name)
	}
	before := b.holdings()

	// Somebody tried it as root first: what it has left is the service's then.
	trial := b.command(t.Context(), "lanyard-mgmt", "serve", "--listen", b.addr+":8443")
	var said bytes.Buffer
	trial.Stdout, trial.Stderr = &said, &said
	if err := trial.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, 60*time.Second, "the trial", func() error {
		out, err := b.try("lanyard-mgmt", "user", "add", "ann@example.com", "--name", "Ann", "--admin")
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	})
	b.do("pkill", "-TERM", "-x", "lanyard-mgmt")
	_ = trial.Wait()

	for _, refused := range [][]string{{"--listen", "here; reboot"}, {"--url", `https://x/"$(id)`}, {"--overlay4", "nonsense"}, {"--no-such-flag"}} {
		if out, err := b.try("lanyard-mgmt", append([]string{"service", "install"}, refused...)...); err == nil {
			t.Errorf("%q is taken: %s", refused, out)
		}
	}
	// stands asks how the service stands, which a program hears by the exit status and by JSON, a person in words.
	stands := func(good bool, words, fields string) {
		t.Helper()
		for flag, want := range map[string]string{"--json=false": words, "--json": fields} {
			out, err := b.try("lanyard-mgmt", "service", "status", flag)
			if (err == nil) != good || !strings.Contains(strings.Join(strings.Fields(out), " "), want) {
				t.Errorf("service status %s: %v\n%s\nwant %s", flag, err, out, want)
			}
		}
	}
	stands(false, "not installed ('lanyard-mgmt service install').", `{ "installed": false, "running": false, "answers": false }`)
	out := b.do("lanyard-mgmt", "service", "install", "--listen", b.addr+":8443")
	if !strings.Contains(out, "installed and runs") {
		t.Errorf("it says %q", out)
	}
	state := func() string {
		return b.property("lanyard-mgmt", "ActiveState") + " " + b.property("lanyard-mgmt", "UnitFileState") + " " + b.property("lanyard-mgmt", "Type")
	}
	if s := state(); s != "active enabled notify" {
		t.Fatalf("after installation: %s\n%s", s, b.journal())
	}
	stands(true, "The system runs the server. It answers (version ", `{ "installed": true, "running": true, "answers": true, "release": "`)
	who := func() string {
		return strings.TrimSpace(b.do("sh", "-c", "ps -o user:20= -p "+b.property("lanyard-mgmt", "MainPID")+"; stat -c '%U %a' /var/lib/lanyard-mgmt /var/lib/lanyard-mgmt/mgmt.db"))
	}
	if got := strings.Join(strings.Fields(who()), " "); got != "lanyard-mgmt lanyard-mgmt 700 lanyard-mgmt 600" {
		t.Errorf("who runs it, and whose its state is: %s", got)
	}
	if people := b.do("lanyard-mgmt", "user", "list"); !strings.Contains(people, "ann@example.com") {
		t.Errorf("what root's trial left is not served:\n%s", people)
	}
	b.exposed("lanyard-mgmt.service", 1.5)
	b.back("lanyard-mgmt", "lanyard-mgmt", "user", "list")
	listens := func(port string) error {
		if out := b.do("ss", "-ltnH"); !strings.Contains(out, b.addr+":"+port) {
			return errors.New(out)
		}
		return nil
	}
	// A port that only root may open, and other flags in place of the first.
	b.do("lanyard-mgmt", "service", "install", "--listen", b.addr+":443", "--verbose")
	if err := listens("443"); err != nil {
		t.Error(err)
	}
	if listens("8443") == nil {
		t.Error("the first flags are still good")
	}
	if people := b.do("lanyard-mgmt", "user", "list"); !strings.Contains(people, "ann@example.com") {
		t.Errorf("installed again, the people are:\n%s", people)
	}
	// In this order: what follows needs the server.
	for _, c := range [][2]string{{"stop", "inactive"}, {"start", "active"}, {"restart", "active"}} {
		b.do("lanyard-mgmt", "service", c[0])
		if s := state(); s != c[1]+" enabled notify" {
			t.Errorf("after %s it is %s", c[0], s)
		}
	}
	b.do("systemctl", "stop", "lanyard-mgmt")
	stands(false, "installed and stopped ('lanyard-mgmt service start').", `{ "installed": true, "running": false, "answers": false }`)
	b.do("systemctl", "start", "lanyard-mgmt")
	peerFromAPlainProgram(t, b)

	// Gone, but for the data and whose it is.
	b.do("lanyard-mgmt", "service", "uninstall")
	b.ended("lanyard-mgmt", "after uninstalling")
	data := regexp.MustCompile(`^\+ /var/lib/lanyard-mgmt(/|$)|^~ /etc/(passwd|group|shadow|gshadow)$`)
	for _, line := range difference(before, b.holdings()) {
		if !data.MatchString(line) {
			t.Errorf("after uninstalling: %s", line)
		}
	}
	b.do("lanyard-mgmt", "service", "install")
	if people := b.do("lanyard-mgmt", "user", "list"); !strings.Contains(people, "ann@example.com") {
		t.Errorf("installed after uninstalling, the people are:\n%s", people)
	}
	b.do("lanyard-mgmt", "service", "uninstall", "--purge")
	if left := difference(before, b.holdings()); len(left) > 0 {
		t.Errorf("after a purge:\n%s", strings.Join(left, "\n"))
	}

	// A package's service is the package's.
	one, _ := releases(t)
	b.mustInstall(one.server)
	for _, verb := range []string{"install", "uninstall"} {
		if out, err := b.try("lanyard-mgmt", "service", verb); err == nil || !strings.Contains(out, "a package has installed") {
			t.Errorf("%s beside a package: %v, %s", verb, err, out)
		}
	}
	if s := state(); s != "active enabled notify" {
		t.Errorf("the package's service is %s", s)
	}
	b.exposed("lanyard-mgmt.service", 1.5)
	b.do("dpkg", "--purge", "lanyard-mgmt")
	b.do("rm", "/usr/local/bin/lanyard", "/usr/local/bin/lanyard-mgmt")
	if out := b.traces() + b.do("sh", "-c", "getent passwd lanyard-mgmt; getent group lanyard-mgmt || true"); out != "" {
		t.Errorf("after the purge of the package there is still:\n%s", out)
	}
}

// A machine's service from a program that no package brought, in the network of the server that runs beside it: its removal
// leaves the data, a purge nothing.
func peerFromAPlainProgram(t *testing.T, b *box) {
	t.Helper()
	b.before = b.holdings()
	b.do("lanyard", "service", "install")
	b.joinOwn()
	identity := b.do("sha256sum", "/var/lib/lanyard/default/state.json")
	b.crashed()
	b.do("mkdir", "/etc/lanyard")
	b.write("/etc/lanyard/setup-key", "left for nothing\n")
	if out := b.do("lanyard", "service", "uninstall"); !strings.Contains(out, "identity stays") {
		t.Errorf("it says %q", out)
	}
	b.left("after uninstalling", b.before, `^\+ /var/lib/lanyard(/|$)`, serverData)
	if now := b.do("sha256sum", "/var/lib/lanyard/default/state.json"); now != identity {
		t.Error("uninstalling touched the machine's identity")
	}
	b.do("lanyard", "service", "install")
	until(t, 60*time.Second, "the machine is part of its network again", func() error {
		if hosts := b.read("/etc/hosts"); !strings.Contains(hosts, "plain.lanyard.internal") {
			return errors.New(hosts)
		}
		return nil
	})
	b.enrolled("plain")
	// What an administrator put there, and another profile of root's whose service was killed.
	b.do("mkdir", "-p", "/etc/lanyard", "/var/lib/lanyard/work")
	b.write("/etc/lanyard/limits.yaml", "")
	b.write("/etc/default/lanyard", "# mine\n")
	b.write("/etc/ssh/ssh_config.d/20-lanyard-work.conf", "# of the profile\n")
	b.write("/etc/hosts", b.read("/etc/hosts")+"# BEGIN Lanyard work: written by the service, changes in here are lost\n100.64.0.9\tx.work.lanyard.internal\n# END Lanyard work\n")
	// Nothing outside of the system's own places is purged.
	if out, err := b.try("env", "LANYARD_STATE_DIR=/home", "lanyard", "service", "uninstall", "--purge"); err == nil || !strings.Contains(out, "LANYARD_STATE_DIR") {
		t.Errorf("a purge of /home: %v, %s", err, out)
	}
	if s := b.property("lanyard", "ActiveState"); s != "active" {
		t.Errorf("a refused purge left the service %s", s)
	}
	if out := b.do("lanyard", "service", "uninstall", "--purge"); !strings.Contains(out, "identity and settings") {
		t.Errorf("it says %q", out)
	}
	b.ended("lanyard", "after a purge")
	b.left("after a purge", b.before, serverData)
	b.do("lanyard", "service", "uninstall", "--purge") // there is nothing to do, and it is no error
}

// serverData is what the server beside the machine writes meanwhile.
const serverData = `^[+-] /var/lib/lanyard-mgmt/`
