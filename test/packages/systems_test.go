//go:build linux

package packages

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"debug/macho"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"howett.net/plist"
)

var (
	systemsOnce sync.Once
	systemsDir  = filepath.Join(built, "releases", "systems")
)

// systemPackages holds the packages of every format but those of releases, for the peer and one processor.
func systemPackages(t *testing.T) string {
	t.Helper()
	systemsOnce.Do(func() { run(t, pack, append(systemsArgs, "--source", "../..", "--out", systemsDir)...) })
	return systemsDir
}

var systemsArgs = []string{
	"build", "--version", versions[0], "--stamp", stamp, "--packages", "lanyard", "--archs", "amd64",
	"--formats", "deb,rpm,apk,arch,macos,freebsd,msi,tar,sbom",
}

// unpacked is what bsdtar takes out of an archive.
func unpacked(t *testing.T, file string) string {
	t.Helper()
	dir := t.TempDir()
	run(t, "bsdtar", "-x", "-p", "-f", file, "-C", dir)
	return dir
}

// shell reads scripts as the system's shell would.
func shell(t *testing.T, name, text string) {
	t.Helper()
	c := exec.Command("sh", "-n")
	c.Stdin = strings.NewReader(text)
	if out, err := c.CombinedOutput(); err != nil || !strings.HasPrefix(text, "#!/bin/sh\n") {
		t.Errorf("%s: %v: %s", name, err, out)
	}
}

func only(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %q, %v", pattern, found, err)
	}
	return found[0]
}

func TestFreeBSDPackage(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	dir := unpacked(t, only(t, filepath.Join(systemPackages(t), "lanyard-*-freebsd14-amd64.pkg")))
	var m struct {
		Name, Version, ABI, Prefix string
		Files, Scripts             map[string]string
		Directories                map[string]string
	}
	b, err := os.ReadFile(filepath.Join(dir, "+MANIFEST"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	if m.Name != "lanyard" || m.Version != versions[0] || m.ABI != "FreeBSD:14:amd64" || m.Prefix != "/usr/local" {
		t.Errorf("the manifest says %s %s %s %s", m.Name, m.Version, m.ABI, m.Prefix)
	}
	found := 0
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, dir)
		if err != nil || d.IsDir() || strings.HasPrefix(name, "/+") {
			return err
		}
		found++
		b, err := os.ReadFile(path)
		if want := fmt.Sprintf("1$%x", sha256.Sum256(b)); m.Files[name] != want {
			t.Errorf("%s has the checksum %q in the manifest, and is %s", name, m.Files[name], want)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if found != len(m.Files) || found < 5 {
		t.Errorf("%d files, the manifest has %d", found, len(m.Files))
	}
	program, err := elf.Open(filepath.Join(dir, "usr/local/bin/lanyard"))
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	if program.OSABI != elf.ELFOSABI_FREEBSD || program.Machine != elf.EM_X86_64 {
		t.Errorf("the program is for %s on %s", program.OSABI, program.Machine)
	}
	rc, err := os.ReadFile(filepath.Join(dir, "usr/local/etc/rc.d/lanyard"))
	if err != nil {
		t.Fatal(err)
	}
	shell(t, "rc.d/lanyard", string(rc))
	if fi, err := os.Stat(filepath.Join(dir, "usr/local/etc/rc.d/lanyard")); err != nil || fi.Mode().Perm() != 0o755 {
		t.Errorf("rc.d/lanyard: %v", err)
	}
	if !bytes.Contains(rc, []byte(" /usr/local/bin/lanyard service run")) {
		t.Errorf("rc.d/lanyard runs another program:\n%s", rc)
	}
	for name, text := range m.Scripts {
		shell(t, name, text)
	}
	if m.Scripts["post-install"] == "" || m.Scripts["pre-deinstall"] == "" {
		t.Errorf("scripts: %q", m.Scripts)
	}
}

func TestMacOSPackage(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	dir := unpacked(t, only(t, filepath.Join(systemPackages(t), "lanyard-*-macos.pkg")))
	payload := unpacked(t, filepath.Join(dir, "lanyard.pkg", "Payload"))
	scripts := unpacked(t, filepath.Join(dir, "lanyard.pkg", "Scripts"))
	lists := 0
	if err := filepath.WalkDir(payload, func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".plist" {
			return err
		}
		lists++
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var j struct {
			Label            string
			ProgramArguments []string
		}
		if _, err := plist.Unmarshal(b, &j); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if j.Label+".plist" != filepath.Base(path) || len(j.ProgramArguments) == 0 {
			t.Errorf("%s is of %q and runs %q", path, j.Label, j.ProgramArguments)
			return nil
		}
		fi, err := os.Stat(filepath.Join(payload, j.ProgramArguments[0]))
		if err == nil && fi.Mode().Perm() != 0o755 {
			t.Errorf("%s has the mode %o", j.ProgramArguments[0], fi.Mode())
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if lists != 1 {
		t.Errorf("%d property lists", lists)
	}
	program, err := macho.Open(filepath.Join(payload, "usr/local/bin/lanyard"))
	if err != nil {
		fat, ferr := macho.OpenFat(filepath.Join(payload, "usr/local/bin/lanyard"))
		if ferr != nil {
			t.Fatalf("%v, %v", err, ferr)
		}
		defer fat.Close()
		if len(fat.Arches) != 1 || fat.Arches[0].Cpu != macho.CpuAmd64 {
			t.Errorf("the program is for %v", fat.Arches)
		}
	} else {
		defer program.Close()
		if program.Cpu != macho.CpuAmd64 {
			t.Errorf("the program is for %s", program.Cpu)
		}
	}
	for _, file := range []string{filepath.Join(scripts, "preinstall"), filepath.Join(scripts, "postinstall"), filepath.Join(payload, "usr/local/share/lanyard/uninstall")} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		shell(t, filepath.Base(file), string(b))
		if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// The same bytes from another checkout: another path, account, umask, home, time zone, language, clock, and files of
// other times.
func TestAnotherCheckoutGivesTheSameBytes(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	first := systemPackages(t)
	base, err := os.MkdirTemp("/var/tmp", "lanyard-other-checkout-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	source, out, home := filepath.Join(base, "elsewhere", "src"), filepath.Join(base, "out"), filepath.Join(base, "home")
	for _, d := range []string{source, home} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	then := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	for name := range strings.SplitSeq(strings.TrimSuffix(run(t, "git", "-c", "safe.directory=*", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"), "\x00"), "\x00") {
		b, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue
		}
		to := filepath.Join(source, name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(to, then, then); err != nil {
			t.Fatal(err)
		}
	}
	program, err := filepath.Abs(pack)
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "USER=somebody", "LOGNAME=somebody", "TZ=Pacific/Auckland", "LANG=C.UTF-8", "TMPDIR=" + home, "GOFLAGS=-trimpath"}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPROXY", "GOSUMDB", "GONOSUMDB", "GOTOOLCHAIN"} {
		env = append(env, name+"="+strings.TrimSpace(run(t, "go", "env", name)))
	}
	elsewhere := func(argv ...string) string {
		t.Helper()
		// In a user namespace this process is another account, which the files belong to.
		c := exec.CommandContext(t.Context(), "unshare", append(append([]string{
			"--user", "--map-user=1234", "--map-group=1234", "sh", "-c", `umask 077 && exec "$@"`, "sh",
		}, clock(t, home)...), argv...)...)
		c.Env, c.Dir = env, home
		msg, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, msg)
		}
		return strings.TrimSpace(string(msg))
	}
	if shown, err := strconv.ParseInt(elsewhere("date", "+%s"), 10, 64); err != nil || runtime.GOARCH == "amd64" && time.Since(time.Unix(shown, 0)) < clockOff-time.Minute {
		t.Fatalf("the other clock shows %d (%v)", shown, err)
	}
	elsewhere(append(append([]string{program}, systemsArgs...), "--source", source, "--out", out)...)
	images := filepath.Join(base, "images")
	elsewhere(append(append([]string{program}, imageArgs...), "--source", source, "--out", images)...)
	read := func(dir string) map[string]string {
		t.Helper()
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		sums := map[string]string{}
		for _, e := range entries {
			b, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if fi, err := e.Info(); err != nil || fi.Mode().Perm() != 0o644 {
				t.Errorf("%s: %v, %v", e.Name(), fi.Mode(), err)
			}
			sums[e.Name()] = fmt.Sprintf("%x", sha256.Sum256(b))
		}
		return sums
	}
	same := func(one, two map[string]string, kinds ...string) {
		t.Helper()
		for name, sum := range one {
			if two[name] != sum {
				t.Errorf("%s differs", name)
			}
		}
		if len(one) != len(two) {
			t.Errorf("%d files, and %d", len(one), len(two))
		}
		for _, kind := range kinds {
			if !slices.ContainsFunc(slices.Collect(maps.Keys(one)), func(name string) bool { return strings.HasSuffix(name, kind) }) {
				t.Errorf("there is no %s: %q", kind, slices.Sorted(maps.Keys(one)))
			}
		}
	}
	imageArchives(t)
	same(read(imageDir), read(images), "-oci.tar", "-oci-amd64.tar", "-oci-arm64.tar", "-compose.yaml")
	one := read(first)
	same(one, read(out), ".deb", ".rpm", ".apk", ".pkg.tar.zst", "-macos.pkg", "-freebsd14-amd64.pkg", "-freebsd15-amd64.pkg", ".msi",
		"-linux-amd64.tar.gz", "-freebsd-amd64.tar.gz", "-darwin-amd64.tar.gz", "-windows-amd64.zip", ".cdx.json", ".admx")
	list, err := os.ReadFile(filepath.Join(first, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(list), "\n"); lines != len(one)-1 {
		t.Errorf("SHA256SUMS has %d lines for %d files", lines, len(one)-1)
	}
	for line := range strings.Lines(string(list)) {
		if f := strings.Fields(line); len(f) != 2 || one[f[1]] != f[0] {
			t.Errorf("SHA256SUMS says %q", line)
		}
	}
}

// clockOff is by how much the other clock is late: less than the hour after which the go command thinks that what is in its
// cache has not been used of late.
const clockOff = 50 * time.Minute

// clock is a command that runs another one with a clock that is late (test/skew). The kernel's own times, of files that
// are made meanwhile, stay right.
func clock(t *testing.T, dir string) []string {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Logf("test/skew knows no instructions of %s: the clock stays as it is", runtime.GOARCH)
		return nil
	}
	skew, err := filepath.Abs(filepath.Join(built, "bin", "skew"))
	if err != nil {
		t.Fatal(err)
	}
	off := filepath.Join(dir, "off")
	if err := os.WriteFile(off, []byte("-"+clockOff.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{skew, off}
}

// Packages for Windows: the tray with its place in the menu, and each processor's own template.
func TestMSITables(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	file := only(t, filepath.Join(systemPackages(t), "*-amd64.msi"))
	table := func(name string) string { return run(t, "msiinfo", "export", file, name) }
	for name, want := range map[string][]string{
		"Shortcut": {"TrayShortcut\tProgramMenuFolder\tLanyard\tTray\t[#tray.exe]\t"}, "File": {"lanyard.exe", "lanyard-tray.exe"}, "Registry": {`CurrentVersion\Run`},
		"ServiceInstall": {"lanyard\t"}, "Environment": {"=-*PATH"}, "Property": {"MsiHiddenProperties\tSETUP_KEY;Setup"},
	} {
		got := table(name)
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s has no %q:\n%s", name, w, got)
			}
		}
	}
	if files := table("File"); strings.Contains(files, "wintun") {
		t.Errorf("without the build input, there is a wintun.dll:\n%s", files)
	}
	if s := run(t, "msiinfo", "suminfo", file); !strings.Contains(s, "Template: x64;1033") || !strings.Contains(s, "2023") {
		t.Errorf("the summary is\n%s", s)
	}
}
