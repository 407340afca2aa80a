package paths

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestMovedInstallationStaysInItsFolder(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", filepath.Join(dir, "home"))
	t.Setenv("LANYARD_STATE_DIR", filepath.Join(dir, "state"))
	t.Setenv("LANYARD_RUN_DIR", filepath.Join(dir, "run"))
	for _, p := range []Paths{System("default"), User("default"), For("default"), Find("default")} {
		for _, place := range []string{p.State, p.StateFile, p.MapFile, p.Spool, p.KnownHosts, p.DropIn, p.Run, p.Login, p.SSHDir} {
			if !strings.HasPrefix(place, dir) {
				t.Errorf("%s is outside", place)
			}
		}
	}
	if a, b := User("a"), User("b"); a.State == b.State || a.Socket == b.Socket || a.DropIn == b.DropIn || a.Login == b.Login {
		t.Error("two profiles share a place")
	}
}

func TestWriteFileReplacesOnlyOwnRegularFiles(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	for _, s := range []string{"one", "two"} {
		if err := WriteFile(name, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := ReadFile(name); err != nil || string(b) != "two" {
		t.Errorf("%q %v", b, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".lanyard-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := WriteFile(dir, nil, 0o600); err == nil {
		t.Error("replaced a folder")
	}
	if runtime.GOOS == "windows" {
		return
	}
	link := filepath.Join(dir, "link")
	os.Symlink(name, link)
	if err := WriteFile(link, []byte("x"), 0o600); err == nil {
		t.Error("replaced a link")
	}
	if _, err := ReadFile(link); err == nil {
		t.Error("read a link")
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	os.Chown(name, 65534, 65534)
	if err := WriteFile(name, []byte("x"), 0o600); err == nil {
		t.Error("replaced another user's file")
	}
}

func TestPrivateDirRefusesWhatOthersCanWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := PrivateDir(dir); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	if fi, _ := os.Stat(dir); fi.Mode().Perm() != 0o700 {
		t.Errorf("mode %v", fi.Mode())
	}
	link := dir + "-link"
	os.Symlink(dir, link)
	if err := PrivateDir(link); err != nil {
		t.Errorf("a link of one's own: %v", err)
	}
	os.Chmod(dir, 0o720)
	if err := PrivateDir(dir); err == nil {
		t.Error("a folder that a group may write")
	}
}

func TestFilesOfALoginAreOfAProfileAndAMachine(t *testing.T) {
	p := Paths{Profile: "work", SSHDir: "ssh"}
	key, cert, fresh := p.Identity("p1")
	mkey, mcert, mfresh := p.MachineIdentity("p1")
	seen := map[string]bool{}
	for _, f := range []string{key, cert, fresh, mkey, mcert, mfresh} {
		if seen[f] || filepath.Dir(f) != "ssh" || !strings.Contains(f, "work-p1") {
			t.Errorf("%s is another file, too, or elsewhere", f)
		}
		seen[f] = true
	}
	if filepath.Base(key) != IdentityName("work", "p1") || filepath.Base(mkey) != MachineIdentityName("work", "p1") {
		t.Errorf("%s, %s", key, mkey)
	}
	// No profile's login is called like another's machine certificate.
	if IdentityName("machine", "p1") == MachineIdentityName("p1", "") || strings.HasPrefix(mkey, key) {
		t.Error("one name for two")
	}
}

func TestHomeIsThatOfTheUserDatabase(t *testing.T) {
	t.Setenv("LANYARD_STATE_DIR", "")
	was := Home()
	t.Setenv("HOME", t.TempDir())
	if got := Home(); got != was || !filepath.IsAbs(got) {
		t.Errorf("$HOME moves it from %s to %s", was, got)
	}
	t.Setenv("LANYARD_STATE_DIR", t.TempDir())
	if got := Home(); got != os.Getenv("HOME") {
		t.Errorf("a moved installation is at home in %s", got)
	}
}

func TestPlacesAreTheMachinesForThePrivileged(t *testing.T) {
	t.Setenv("LANYARD_STATE_DIR", "")
	t.Setenv("LANYARD_RUN_DIR", "")
	if p := For("default"); p.System != Privileged() {
		t.Errorf("privileged %v, and the places are %+v", Privileged(), p)
	}
	if s, u := System("default"), User("default"); s.State == u.State || s.DropIn == u.DropIn || s.Socket == u.Socket {
		t.Errorf("the machine's places are a user's: %+v", s)
	}
	if runtime.GOOS != "windows" && Privileged() != (os.Geteuid() == 0) {
		t.Errorf("privileged: %v as uid %d", Privileged(), os.Geteuid())
	}
}

func TestMachineDirIsMade(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "machine")
	for range 2 {
		if err := MachineDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	if runtime.GOOS == "windows" {
		return
	}
	if err := os.Chmod(dir, 0o757); err != nil {
		t.Fatal(err)
	}
	if MachineDir(dir) == nil {
		t.Error("a folder that everyone may write")
	}
}

func TestSecretThatOthersMayReadIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if _, err := ReadSecret(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := ReadSecret(file); err != nil || string(b) != "secret\n" {
		t.Errorf("%q, %v", b, err)
	}
	if runtime.GOOS == "windows" {
		return // no mode says who may read a file
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		if b, err := ReadSecret(file); err == nil {
			t.Errorf("%v: %q", mode, b)
		}
	}
}
