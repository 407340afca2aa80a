//go:build linux

package packages

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
	"lanyard/test/wine"
	"lanyard/wix"
)

const installed = `C:\Program Files\Lanyard\lanyard.exe`

// msi builds the package of a version.
func msi(t *testing.T, version string) string {
	t.Helper()
	return msiOf(t, version, windowsProgram(t, "lanyard.exe", "service", version))
}

// msiOf is a package of some program's. What it has in place of the tray never runs.
func msiOf(t *testing.T, version, program string) string {
	t.Helper()
	tray := filepath.Join(t.TempDir(), "lanyard-tray.exe")
	if err := os.WriteFile(tray, []byte("MZ"), 0o600); err != nil {
		t.Fatal(err)
	}
	return msiWith(t, version, program, tray)
}

func msiWith(t *testing.T, version, program, tray string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "lanyard.msi")
	if err := wix.Build(t.Context(), wix.Options{
		Version: version, Arch: "amd64", Service: program, Tray: tray, Time: time.Unix(1.7e9, 0), Out: out,
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// upgrading is a copy of a package that tells the removal of the old one that it is part of an upgrade. Windows Installer
// does so by itself (the property UPGRADINGPRODUCTCODE); Wine's only hands on what the package's table says.
func upgrading(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "lanyard.msi")
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(within(t, 3*time.Minute), "msibuild", to, "-q",
		"UPDATE `Upgrade` SET `Remove` = 'ALL UPGRADINGPRODUCTCODE=1' WHERE `ActionProperty` = 'WIX_UPGRADE_DETECTED'").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return to
}

// snapshot is what a machine holds: its registry's lines and its files.
func snapshot(t *testing.T, m *wine.Machine) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, key := range []string{`HKLM\Software`, `HKLM\System\CurrentControlSet\Services`, `HKCU\Software`, `HKCU\Environment`} {
		text, err := m.Registry(within(t, 3*time.Minute), key)
		if err != nil {
			t.Fatal(err)
		}
		where := ""
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "[") {
				where = line
			}
			all[where+" "+line] = true
		}
	}
	drive := m.Path(`C:\`)
	if err := filepath.WalkDir(drive, func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // gone since its folder was read
			return nil
		}
		all[strings.TrimPrefix(path, drive)] = true
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// path is the machine's PATH. Wine's installer leaves a semicolon behind when it takes something out.
func path(t *testing.T, m *wine.Machine) string {
	t.Helper()
	out, err := m.Run(within(t, 3*time.Minute), "reg", "query", `HKLM\System\CurrentControlSet\Control\Session Manager\Environment`, "/v", "PATH")
	if err != nil {
		t.Fatal(err)
	}
	_, value, ok := strings.Cut(out, "REG_EXPAND_SZ")
	if !ok {
		t.Fatalf("reg query says %q", out)
	}
	return strings.TrimRight(strings.TrimSpace(value), ";")
}

// changed lists what came and went, but for what Windows Installer and Wine keep for themselves.
func changed(before, after map[string]bool) (list []string) {
	own := regexp.MustCompile(`(?i)^/users/[^/]*/temp/|^/windows/temp/|^/windows/installer$|\\Temporary System Parameters\\|` +
		`^\[[^\]]*\\(Installer(\\[^\]]*)?|CurrentVersion\\Run)\] (\[.*)?$`).MatchString // empty keys
	for s := range after {
		if !before[s] && !own(s) {
			list = append(list, "+ "+s)
		}
	}
	for s := range before {
		if !after[s] && !own(s) {
			list = append(list, "- "+s)
		}
	}
	slices.Sort(list)
	return list
}

// stays is what a machine holds that it did not hold before, or the other way round, once its programs had the time to
// end: but for what may be so.
func stays(t *testing.T, m *wine.Machine, before map[string]bool, may func(line string) bool) (left []string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; {
		left = changed(before, snapshot(t, m))
		if may != nil {
			left = slices.DeleteFunc(left, may)
		}
		if len(left) == 0 || time.Now().After(end) {
			return left
		}
	}
}

// services lists the command lines of the machine's lanyard.exe.
func services(m *wine.Machine) (lines []string) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		cmd, err := os.ReadFile(filepath.Join(d, "cmdline"))
		if err != nil || !bytes.Contains(cmd, []byte("lanyard.exe")) {
			continue
		}
		if env, err := os.ReadFile(filepath.Join(d, "environ")); err == nil && bytes.Contains(env, []byte("WINEPREFIX="+m.Dir+"\x00")) {
			lines = append(lines, strings.TrimSpace(string(bytes.ReplaceAll(cmd, []byte{0}, []byte(" ")))))
		}
	}
	return lines
}

func TestMSI(t *testing.T) {
	t.Parallel()
	one, two := msi(t, "1.0.0"), msi(t, "1.0.1")
	o, m := openOffice(t), openWindows(t)
	before, oldPath := snapshot(t, m), path(t, m)
	key, err := o.mgmt.SetupKey(within(t, 3*time.Minute), "tag:windows")
	if err != nil {
		t.Fatal(err)
	}
	// The machine's name is its own.
	host, err := m.Run(within(t, 3*time.Minute), "hostname")
	if err != nil {
		t.Fatal(err)
	}
	name := strings.ToLower(strings.TrimSpace(host))
	msiexec := func(args ...string) error {
		_, err := m.Run(within(t, 6*time.Minute), "msiexec", append(args, "/qn")...)
		return err
	}
	log := filepath.Join(m.Dir, "install.log")
	if err := msiexec("/i", one, "MANAGEMENT_URL="+o.mgmt.Join, "SETUP_KEY="+key, "ALLOW_SSH=1", "/l*v", `Z:`+strings.ReplaceAll(log, "/", `\`)); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(log); err != nil {
		t.Error(err)
	} else {
		logged(t, one, wine.UTF8(b), o.mgmt.Join, key)
	}
	if p := path(t, m); !strings.Contains(p, `C:\Program Files\Lanyard\`) {
		t.Errorf("the PATH is %q", p)
	}
	first := serves(t, m, installed)
	if first.Tunnel.Mode != "userspace" {
		t.Errorf("without wintun.dll the tunnel's mode is %q", first.Tunnel.Mode)
	}
	if err := lab.Until(within(t, 60*time.Second), "the service alone", func() error {
		if got := services(m); len(got) != 1 || !strings.Contains(got[0], "service run") || !strings.Contains(got[0], `Program Files\Lanyard`) {
			return fmt.Errorf("of Lanyard there runs %q", got)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if r, err := m.Registry(within(t, 3*time.Minute), `HKLM\Software\Lanyard`); err != nil || !strings.Contains(r, o.mgmt.Join) {
		t.Errorf("the registry does not hold the server's address (%v): %s", err, r)
	}
	if where := holds(t, m, key[:len(key)/2]); len(where) > 0 {
		t.Errorf("the setup key is still there, in %v", where)
	}
	dropIn, err := os.ReadFile(m.Path(`C:\ProgramData\ssh\ssh_config.d\20-lanyard.conf`))
	// The short form of Program Files, as this system makes it: ssh_config cannot name a program with blanks.
	if err != nil || !regexp.MustCompile(`C:/PROG[^/ ]*/Lanyard/lanyard\.exe openssh `).Match(dropIn) {
		t.Errorf("the drop-in is %q, %v", dropIn, err)
	}
	if config, err := os.ReadFile(m.Path(`C:\ProgramData\ssh\ssh_config`)); err != nil || !bytes.Contains(config, []byte("Include C:/ProgramData/ssh/ssh_config.d/20-lanyard.conf")) {
		t.Errorf("ssh_config is %q, %v", config, err)
	}
	o.signInFor(name)
	starts := func() bool {
		t.Helper()
		r, err := m.Registry(within(t, 3*time.Minute), `HKLM\Software\Microsoft\Windows\CurrentVersion\Run`)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(r, "lanyard-tray.exe")
	}
	if !starts() {
		t.Error("the tray does not start with people's desktops")
	}
	// Group Policy settles things; the service reads it when it starts, which the upgrade makes it do.
	for _, v := range [][]string{{"AllowSSH", "REG_DWORD", "1"}, {"Userspace", "REG_DWORD", "1"}} {
		if _, err := m.Run(within(t, 3*time.Minute), "reg", "add", `HKLM\Software\Policies\Lanyard`, "/v", v[0], "/t", v[1], "/d", v[2], "/f"); err != nil {
			t.Fatal(err)
		}
	}
	ask := func() {
		t.Helper()
		if r := o.sshTo(name, "echo %COMPUTERNAME%& exit 3"); r.code != 3 || !strings.EqualFold(strings.TrimSpace(r.out), name) {
			t.Errorf("ssh to the service of the package: %s", r)
		}
	}
	ask()

	if err := msiexec("/i", upgrading(t, two), "START_TRAY=0"); err != nil {
		t.Fatal(err)
	}
	second := serves(t, m, installed)
	if second.Self == nil || first.Self == nil || second.Self.ID != first.Self.ID {
		t.Errorf("after an upgrade the machine is %+v, it was %+v", second.Self, first.Self)
	}
	if v, err := m.Run(within(t, 3*time.Minute), installed, "--version"); err != nil || !strings.Contains(v, "1.0.1") {
		t.Errorf("after an upgrade the version is %q, %v", v, err)
	}
	if r, err := m.Registry(within(t, 3*time.Minute), `HKLM\Software\Lanyard`); err != nil || !strings.Contains(r, o.mgmt.Join) {
		t.Errorf("an upgrade lost the server's address (%v): %s", err, r)
	}
	ask()
	said, err := m.Run(within(t, 3*time.Minute), installed, "status")
	if want := `Settled by your administrator: allow_ssh, userspace (HKLM\SOFTWARE\Policies\Lanyard).`; err != nil || !strings.Contains(said, want) {
		t.Errorf("status does not say %q (%v):\n%s", want, err, said)
	}
	if said, err := m.Run(within(t, 3*time.Minute), installed, "up", "--allow-ssh=false"); err == nil || !strings.Contains(said+err.Error(), `settled allow_ssh for this machine; ask them to change it in HKLM\SOFTWARE\Policies\Lanyard`) {
		t.Errorf("somebody overrode the policy: %s, %v", said, err)
	}
	if _, err := m.Run(within(t, 3*time.Minute), "reg", "delete", `HKLM\Software\Policies\Lanyard`, "/f"); err != nil {
		t.Fatal(err)
	}
	if starts() {
		t.Error("with START_TRAY=0 the tray starts")
	}
	if err := msiexec("/i", one); err == nil {
		t.Error("a downgrade is not refused")
	}
	if v, err := m.Run(within(t, 3*time.Minute), installed, "--version"); err != nil || !strings.Contains(v, "1.0.1") {
		t.Errorf("after a refused downgrade the version is %q, %v", v, err)
	}

	// What was switched off stays off, also when each version is deployed by the same command line. It goes before what the
	// registry remembers, also with windows to see, where the registry is searched twice.
	if _, err := m.Run(within(t, 3*time.Minute), installed, "down"); err != nil {
		t.Fatal(err)
	}
	three := msiOf(t, "1.0.2", windowsProgram(t, "lanyard.exe", "service", "1.0.1"))
	if _, err := m.Run(within(t, 3*time.Minute), "reg", "add", `HKLM\Software\Lanyard`, "/v", "ManagementURL", "/d", "https://remembered.example.com", "/f"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Run(within(t, 6*time.Minute), "msiexec", "/i", upgrading(t, three), "MANAGEMENT_URL="+o.mgmt.Join, "ALLOW_SSH=1"); err != nil {
		t.Fatal(err)
	}
	if r, err := m.Registry(within(t, 3*time.Minute), `HKLM\Software\Lanyard`); err != nil || !strings.Contains(r, o.mgmt.Join) || strings.Contains(r, "remembered.example.com") {
		t.Errorf("the address that was given gave way to the one that the registry held (%v): %s", err, r)
	}
	if s, err := status(within(t, 3*time.Minute), m, installed); err != nil || s.State != "down" {
		t.Errorf("an upgrade switched on what somebody had switched off: %+v, %v", s, err)
	}
	if starts() {
		t.Error("an upgrade forgot START_TRAY=0")
	}
	if err := msiexec("/x", three); err != nil {
		t.Fatal(err)
	}
	if err := lab.Until(within(t, time.Minute), "the service's end", func() error {
		if got := services(m); len(got) != 0 {
			return fmt.Errorf("still running: %q", got)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if p := path(t, m); p != oldPath {
		t.Errorf("the PATH is %q, it was %q", p, oldPath)
	}
	if left := stays(t, m, before, nil); len(left) > 0 {
		t.Errorf("removal left or took:\n%s", strings.Join(left[:min(len(left), 60)], "\n"))
	}
}

// logged checks the log of an installation: what stands in it of the key is what Windows leaves out, which is the value of
// each property that the package hides. Wine's installer knows no hidden ones.
func logged(t *testing.T, file, log, shown, key string) {
	t.Helper()
	tables := map[string]string{}
	for _, table := range []string{"Property", "CustomAction"} {
		out, err := exec.CommandContext(within(t, 3*time.Minute), "msiinfo", "export", file, table).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		tables[table] = string(out)
	}
	hidden := strings.Split(regexp.MustCompile(`(?m)^MsiHiddenProperties\t(\S+)`).FindStringSubmatch(tables["Property"])[1], ";")
	given := false
	for line := range strings.Lines(log) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
		name = strings.TrimPrefix(name, "Property(S): ")
		given = given || name == "MANAGEMENT_URL" && value == shown
		if strings.Contains(line, key[:len(key)/2]) && (!slices.Contains(hidden, name) || value != key) {
			t.Errorf("the log of the installation holds the setup key: %s", line)
		}
	}
	if !given {
		t.Errorf("the log of the installation does not hold the server's address %s:\n%s", shown, log)
	}
	// Whoever names the key in a command line has that hidden, too.
	for line := range strings.Lines(tables["CustomAction"]) {
		f := strings.Split(line, "\t")
		if len(f) < 4 || !strings.Contains(f[3], "[SETUP_KEY]") {
			continue
		}
		const hideTarget = 0x2000 // msidbCustomActionTypeHideTarget
		if kind, err := strconv.Atoi(f[1]); err != nil || kind&hideTarget == 0 || !slices.Contains(hidden, f[0]) {
			t.Errorf("the action %s shows its command line (type %s, %v)", f[0], f[1], err)
		}
	}
}

// A policy names the server; the package's command line has a setup key alone, or the name of a file with one.
func TestMSIJoinsWhatAPolicyNames(t *testing.T) {
	t.Parallel()
	one := msi(t, "1.0.0")
	o, m := openOffice(t), openWindows(t)
	for _, v := range [][]string{{"ManagementURL", "REG_SZ", o.mgmt.Join}, {"AllowSSH", "REG_DWORD", "1"}} {
		if _, err := m.Run(within(t, 3*time.Minute), "reg", "add", `HKLM\Software\Policies\Lanyard`, "/v", v[0], "/t", v[1], "/d", v[2], "/f"); err != nil {
			t.Fatal(err)
		}
	}
	names := map[string]bool{}
	for _, property := range []string{"SETUP_KEY", "SETUP_KEY_FILE"} {
		key, err := o.mgmt.SetupKey(within(t, 3*time.Minute), "tag:windows")
		if err != nil {
			t.Fatal(err)
		}
		if property == "SETUP_KEY_FILE" {
			const file = `C:\For IT\the key.txt`
			if err := os.MkdirAll(m.Path(`C:\For IT`), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(m.Path(file), []byte(key+"\r\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			key = file
		}
		if out, err := m.Run(within(t, 6*time.Minute), "msiexec", "/i", one, property+"="+key, "/qn"); err != nil {
			t.Fatalf("%s: %v\n%s", property, err, out)
		}
		s := serves(t, m, installed)
		if s.Self == nil || names[s.Self.ID] {
			t.Fatalf("%s: the machine is %+v", property, s.Self)
		}
		names[s.Self.ID] = true
		if r, err := m.Registry(within(t, 3*time.Minute), `HKLM\Software\Lanyard`); err != nil || strings.Contains(r, "ManagementURL") {
			t.Errorf("%s: the package remembers an address that it was not given (%v): %s", property, err, r)
		}
		if out, err := m.Run(within(t, 6*time.Minute), "msiexec", "/x", one, "/qn"); err != nil {
			t.Fatalf("%s: %v\n%s", property, err, out)
		}
	}
}

// holds lists the machine's files with a text in them, as bytes or as UTF-16.
func holds(t *testing.T, m *wine.Machine, text string) (where []string) {
	t.Helper()
	wide := strings.Join(strings.Split(text, ""), "\x00")
	for _, dir := range []string{`C:\ProgramData`, `C:\Program Files`, `C:\users`, `C:\windows\temp`, `C:\windows\Installer`} {
		_ = filepath.WalkDir(m.Path(dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil //nolint:nilerr // gone while the service runs
			}
			if b, err := os.ReadFile(path); err == nil && (bytes.Contains(b, []byte(text)) || bytes.Contains(b, []byte(wide))) {
				where = append(where, path)
			}
			return nil
		})
	}
	for _, key := range []string{"HKLM", "HKCU"} {
		r, err := m.Registry(within(t, 3*time.Minute), key)
		if err != nil || r == "" {
			t.Errorf("the registry's %s cannot be read: %v", key, err)
		}
		if strings.Contains(r, text) {
			where = append(where, key)
		}
	}
	return where
}

// A signed package is one that osslsigncode verifies; a changed one is not.
func TestMSIIsSigned(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := func(program string, args ...string) error {
		out, err := exec.CommandContext(within(t, 3*time.Minute), program, args...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%s: %w\n%s", program, err, out)
		}
		return err
	}
	cert, keyFile, signed := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "signed.msi")
	if err := run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", keyFile, "-out", cert, "-days", "2",
		"-subj", "/CN=Lanyard test", "-addext", "extendedKeyUsage=codeSigning"); err != nil {
		t.Fatal(err)
	}
	if err := run("osslsigncode", "sign", "-certs", cert, "-key", keyFile, "-h", "sha256", "-in", msi(t, "1.0.0"), "-out", signed); err != nil {
		t.Fatal(err)
	}
	if err := run("osslsigncode", "verify", "-CAfile", cert, "-in", signed); err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile(signed)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(b, []byte("MSCF")) // the cabinet with the programs
	if i < 0 {
		t.Fatal("the package has no cabinet")
	}
	b[i+5000] ^= 1
	if err := os.WriteFile(signed, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run("osslsigncode", "verify", "-CAfile", cert, "-in", signed); err == nil {
		t.Error("a changed package still verifies")
	}
}
