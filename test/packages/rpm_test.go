//go:build linux

package packages

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/rpm"
)

// baseRPM is a package that provides what a distribution with rpm has: here Debian's own programs do the work.
func baseRPM(t *testing.T) string {
	t.Helper()
	info := nfpm.WithDefaults(&nfpm.Info{
		Name: "base", Arch: "amd64", Platform: "linux", Version: "1.0.0", Maintainer: "nobody", Description: "what the machine has",
		Overridables: nfpm.Overridables{Provides: []string{"/bin/sh", "shadow-utils"}},
	})
	p, err := nfpm.Get("rpm")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := p.Package(info, &b); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "base.rpm")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// The rpm's life on a booted machine, by rpm itself: what dnf does with it is the same transactions.
func TestRPMLife(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	one, two := releases(t)
	b := w.boot("rpm", 1)
	rpm := func(verb string, files ...string) (string, error) {
		args := []string{"--force-debian", verb}
		for _, f := range files {
			args = append(args, b.carry(f))
		}
		return b.try("rpm", args...)
	}
	must := func(verb string, files ...string) {
		t.Helper()
		if out, err := rpm(verb, files...); err != nil || strings.Contains(out, "warning") || strings.Contains(out, "error") {
			t.Fatalf("rpm %s: %v\n%s\n%s", verb, err, out, b.journal())
		}
	}
	if out, err := rpm("--install", one.rpm("lanyard")); err == nil || !strings.Contains(out, "/bin/sh") {
		t.Errorf("what the scripts need is not asked for: %v, %s", err, out)
	}
	must("--install", baseRPM(t))
	before := b.holdings()
	must("--install", one.rpm("lanyard"), one.rpm("lanyard-mgmt"))
	state := func(unit string) string {
		return b.property(unit, "ActiveState") + " " + b.property(unit, "UnitFileState")
	}
	for _, unit := range []string{"lanyard", "lanyard-mgmt"} {
		if s := state(unit); s != "active enabled" {
			t.Fatalf("%s is %s after installation\n%s", unit, s, b.journal())
		}
		if out, err := b.try("rpm", "--verify", unit); err != nil || out != "" {
			t.Errorf("rpm --verify %s: %v\n%s", unit, err, out)
		}
	}
	if who := strings.TrimSpace(b.do("ps", "-o", "user:20=", "-p", b.property("lanyard-mgmt", "MainPID"))); who != "lanyard-mgmt" {
		t.Errorf("the server runs as %s", who)
	}
	identity := func() string { return b.do("sha256sum", "/var/lib/lanyard/default/state.json") }
	first, pid := identity(), b.property("lanyard", "MainPID")

	b.write("/etc/sysconfig/lanyard", "# mine\n")
	b.do("systemctl", "disable", "lanyard")
	must("--upgrade", two.rpm("lanyard"))
	if s := state("lanyard"); s != "active disabled" {
		t.Errorf("disabled, it is %s after an upgrade", s)
	}
	if b.property("lanyard", "MainPID") == pid || !strings.Contains(b.do("lanyard", "--version"), versions[1]) {
		t.Error("the old service still runs after the upgrade")
	}
	if identity() != first || b.do("cat", "/etc/sysconfig/lanyard") != "# mine\n" {
		t.Error("the upgrade changed the machine's identity or the administrator's file")
	}
	b.do("lanyard", "bundle", "/root/bundle.zip")
	if out := run(t, "bsdtar", "-xOf", filepath.Join(b.root, "/root/bundle.zip"), "*sysconfig.txt"); out != "# mine\n" {
		t.Errorf("of the options, the bundle has %q", out)
	}
	if out, err := rpm("--upgrade", one.rpm("lanyard")); err == nil || !strings.Contains(out, "newer than") {
		t.Errorf("a downgrade is not refused: %v, %s", err, out)
	}

	b.write("/etc/sysconfig/lanyard-mgmt", "LANYARD_MGMT_OPTIONS=\"--listen "+b.addr+":443\"\n")
	b.do("systemctl", "restart", "lanyard-mgmt")
	b.joinOwn()
	first = identity()
	b.crashed()
	b.do("mkdir", "-p", "/etc/lanyard")
	b.write("/etc/lanyard/setup-key", "left for nothing\n") // difference shows whether it stays
	b.do("rpm", "--force-debian", "--erase", "lanyard", "lanyard-mgmt")
	for _, unit := range []string{"lanyard", "lanyard-mgmt"} {
		b.ended(unit, "after removal")
	}
	if identity() != first {
		t.Error("removal touched the machine's identity")
	}
	// Data, what the administrator wrote, rpm's own, and folders of other packages that this machine does not have.
	kept := regexp.MustCompile(`^\+ /(etc/xdg/autostart|usr/share/applications|usr/share/fish(/vendor_completions\.d)?)$|^\+ /var/lib/lanyard(-mgmt)?(/|$)|^\+ /etc/sysconfig(/lanyard(-mgmt)?\.rpmsave)?$|^~ /etc/(passwd|group|shadow|gshadow)$|^[+~-] /var/lib/rpm/`)
	for _, line := range difference(before, b.holdings()) {
		if !kept.MatchString(line) {
			t.Errorf("after removal: %s", line)
		}
	}

	// rpm knows no purge: the programs do it, before they go.
	must("--install", two.rpm("lanyard"), one.rpm("lanyard-mgmt"))
	b.write("/etc/sysconfig/lanyard", "# mine\n")
	b.do("systemctl", "start", "lanyard")
	for _, unit := range []string{"lanyard", "lanyard-mgmt"} {
		if out, err := b.try(unit, "service", "uninstall"); err == nil || !strings.Contains(out, "remove the package") {
			t.Errorf("%s service uninstall beside the package: %v, %s", unit, err, out)
		}
		if out := b.do(unit, "service", "uninstall", "--purge"); !strings.Contains(out, "remove the package") {
			t.Errorf("%s service uninstall --purge: %s", unit, out)
		}
	}
	if out := b.do("rpm", "--force-debian", "--erase", "lanyard", "lanyard-mgmt"); out != "" {
		t.Logf("rpm --erase: %s", out)
	}
	b.left("after the purge", before, `^\+ /(etc/xdg/autostart|etc/sysconfig|usr/share/applications|usr/share/fish(/vendor_completions\.d)?)$|^[+~-] /var/lib/rpm/`)
}
