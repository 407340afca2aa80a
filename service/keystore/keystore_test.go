package keystore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lanyard/test/calm"
)

// TestMain lets the test program be the helper process: a keychain in a file, or one that never answers.
func TestMain(m *testing.M) {
	switch os.Getenv("KEYSTORE_TEST_HELPER") {
	case "file":
		os.Exit(fileKeychain(os.Args[1:]))
	case "locked":
		time.Sleep(time.Hour)
	case "store":
		os.Exit(storeMain(os.Args[1:]))
	}
	os.Exit(m.Run())
}

func fileKeychain(args []string) int {
	name := filepath.Join(os.Getenv("KEYSTORE_TEST_DIR"), args[1])
	switch args[0] {
	case "get":
		b, err := os.ReadFile(name)
		if err != nil {
			return exitNone
		}
		os.Stdout.Write(b)
	case "set":
		b, _ := io.ReadAll(os.Stdin)
		os.WriteFile(name, b, 0o600)
	case "delete":
		os.Remove(name)
	}
	return exitOK
}

func helper(t *testing.T, kind string) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("KEYSTORE_TEST_HELPER", kind)
	t.Setenv("KEYSTORE_TEST_DIR", t.TempDir())
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
	return []string{self}
}

// patient waits for a helper that answers, however long a busy machine takes to start it.
func patient(s *Store) *Store {
	s.chain.limit = time.Minute
	return s
}

func TestSecretIsSealedWithTheKeychainsKey(t *testing.T) {
	dir := t.TempDir()
	s := patient(Open(dir, helper(t, "file"), func(msg string) { t.Errorf("warned: %s", msg) }))
	if err := s.Set("refresh", []byte("r-token")); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "secret-refresh"))
	if err != nil || bytes.Contains(raw, []byte("r-token")) {
		t.Fatalf("the file shows the secret, or is not there: %q %v", raw, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "secret-key")); err == nil {
		t.Fatal("a key file was written although there is a keychain")
	}
	got, err := s.Get("refresh")
	if err != nil || string(got) != "r-token" {
		t.Fatalf("Get: %q %v", got, err)
	}
	// Swapping two files must not swap their meaning.
	os.Rename(filepath.Join(dir, "secret-refresh"), filepath.Join(dir, "secret-other"))
	if _, err := s.Get("other"); !errors.Is(err, ErrNone) {
		t.Fatalf("a file under another name was opened: %v", err)
	}
	s.Delete("other")
	if left, _ := os.ReadDir(os.Getenv("KEYSTORE_TEST_DIR")); len(left) != 0 {
		t.Fatalf("the key stayed in the keychain: %v", left)
	}
}

func TestLockedKeychainDoesNotHoldAnyoneUp(t *testing.T) {
	dir := t.TempDir()
	if err := patient(Open(dir, helper(t, "file"), nil)).Set("refresh", []byte("x")); err != nil {
		t.Fatal(err)
	}
	s := Open(dir, helper(t, "locked"), nil)
	clock := calm.Start()
	_, err := s.Get("refresh")
	took := clock.Stop()
	if !errors.Is(err, ErrLocked) || !errors.Is(err, errNoAnswer) {
		t.Fatalf("want ErrLocked, as there is no answer; got %v", err)
	}
	if took > 5*time.Second {
		t.Fatalf("took %s", took)
	}
}

func TestWithoutAKeychainTheUserIsWarnedOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	warnings := 0
	for range 2 {
		s := Open(dir, nil, func(string) { warnings++ })
		if err := s.Set("refresh", []byte("x")); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Get("refresh"); err != nil || string(got) != "x" {
			t.Fatalf("Get: %q %v", got, err)
		}
	}
	if warnings != 1 {
		t.Fatalf("warned %d times", warnings)
	}
	for _, f := range []string{"secret-key", "secret-refresh"} {
		fi, err := os.Stat(filepath.Join(dir, f))
		if err != nil || fi.Mode().Perm() != 0o600 {
			t.Fatalf("%s: %v %v", f, fi, err)
		}
	}
	if fi, _ := os.Stat(dir); fi.Mode().Perm() != 0o700 {
		t.Fatalf("folder mode %v", fi.Mode())
	}
}

func TestLinkInPlaceOfTheSecretIsRefused(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(t.TempDir(), "victim")
	os.WriteFile(victim, []byte("keep"), 0o600)
	if err := os.Symlink(victim, filepath.Join(dir, "secret-refresh")); err != nil {
		t.Skip("no symbolic links here: ", err)
	}
	if err := Open(dir, nil, nil).Set("refresh", []byte("x")); err == nil {
		t.Fatal("wrote through a link")
	}
	if b, _ := os.ReadFile(victim); string(b) != "keep" {
		t.Fatalf("victim: %q", b)
	}
}

// TestRealKeyringHelper runs against gnome-keyring on a private bus.
func TestRealKeyringHelper(t *testing.T) {
	out := newKeyring(t).sh(unlocked + `printf deadbeef | "$0" helper set acct && "$0" helper get acct && "$0" helper delete acct && ! "$0" helper get acct && echo "; gone"`)
	if !strings.Contains(out, "deadbeef; gone\n") {
		t.Fatal(out)
	}
}

// desktopKeyring is a session of its own with a real gnome-keyring. sh runs a script in it: "$0" is this program, as the
// helper or, with a word, as the store (see storeMain). The keyring's files stay from one session to the next. A keyring
// that answers may take its time, except after HASTE.
type desktopKeyring struct {
	t    *testing.T
	home string
}

func newKeyring(t *testing.T) *desktopKeyring {
	for _, p := range []string{"gnome-keyring-daemon", "dbus-run-session"} {
		if _, err := exec.LookPath(p); err != nil {
			if os.Geteuid() == 0 {
				t.Fatal(err)
			}
			t.Skip("needs root: ", err)
		}
	}
	return &desktopKeyring{t, t.TempDir()}
}

func (k *desktopKeyring) sh(script string) string {
	k.t.Helper()
	self, err := os.Executable()
	if err != nil {
		k.t.Fatal(err)
	}
	cmd := exec.Command(self, "session", "dbus-run-session", "--", "sh", "-c", script, self)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + k.home, "XDG_RUNTIME_DIR=" + k.t.TempDir(), "KEYSTORE_TEST_HELPER=store",
		"KEYSTORE_TEST_DIR=" + filepath.Join(k.home, "store"), "XDG_DATA_HOME=" + filepath.Join(k.home, "data"),
		"GORACE=" + os.Getenv("GORACE"),
	}
	out, _ := cmd.CombinedOutput() // the scripts end with what they found out
	return string(out)
}

const unlocked = "printf pw | gnome-keyring-daemon --unlock --components=secrets --daemonize >/dev/null 2>&1\n"

// storeMain is a program with a store, whose helper is itself: "set SECRET", "get", "delete".
func storeMain(args []string) int {
	switch args[0] {
	case "helper":
		return Main(args[1:], os.Stdin, os.Stdout)
	case "session":
		return session(args[1:])
	}
	self, _ := os.Executable()
	s := Open(os.Getenv("KEYSTORE_TEST_DIR"), []string{self, "helper"}, func(w string) { fmt.Println("warned:", w) })
	if os.Getenv("HASTE") == "" {
		patient(s)
	}
	var err error
	switch args[0] {
	case "set":
		err = s.Set("refresh", []byte(args[1]))
	case "get":
		var got []byte
		if got, err = s.Get("refresh"); err == nil {
			fmt.Printf("got %s\n", got)
		}
	case "delete":
		err = s.Delete("refresh")
	}
	switch {
	case errors.Is(err, ErrLocked):
		fmt.Println("LOCKED:", err)
	case errors.Is(err, ErrNone):
		fmt.Println("NONE:", err)
	case err != nil:
		fmt.Println("error:", err)
	}
	return 0
}

func TestRealKeyringHoldsTheKeyUntilLogout(t *testing.T) {
	k := newKeyring(t)
	out := k.sh(unlocked + `"$0" set r-token; "$0" get; "$0" delete; "$0" get; ls -A "$KEYSTORE_TEST_DIR" | sed 's/^/left: /'`)
	if !strings.Contains(out, "got r-token") || !strings.Contains(out, "NONE") || strings.Contains(out, "warned") || strings.Contains(out, "left: ") {
		t.Error(out)
	}
	if out := k.sh(unlocked + `"$0" helper get "$(cat /dev/null)x"; echo "exit $?"`); !strings.Contains(out, "exit 3") {
		t.Errorf("a key that was never there: %s", out)
	}
}

// A session whose keyring nobody has unlocked: what is sealed stays sealed, nothing hangs, and what is there is kept.
func TestRealKeyringThatIsLocked(t *testing.T) {
	k := newKeyring(t)
	if out := k.sh(unlocked + `"$0" set r-token; "$0" get`); !strings.Contains(out, "got r-token") {
		t.Fatal(out)
	}
	clock := calm.Start()
	out := k.sh("gnome-keyring-daemon --start --components=secrets >/dev/null 2>&1\n" + `HASTE=1 "$0" get`)
	took := clock.Stop()
	if !strings.Contains(out, "LOCKED: the keychain that holds the key cannot be opened here") || strings.Contains(out, "got") {
		t.Error(out)
	}
	if took > 3*helperLimit+10*time.Second { // the whole session, with a keyring that is started
		t.Errorf("took %s", took)
	}
	if out := k.sh(unlocked + `"$0" get`); !strings.Contains(out, "got r-token") {
		t.Errorf("unlocked again: %s", out)
	}
}

// The keyring's own files are gone: a new login works, and lies in the new keyring.
func TestRealKeyringThatIsGone(t *testing.T) {
	k := newKeyring(t)
	k.sh(unlocked + `"$0" set r-token`)
	if err := os.RemoveAll(filepath.Join(k.home, "data")); err != nil {
		t.Fatal(err)
	}
	out := k.sh(unlocked + `"$0" get; "$0" set new-token; "$0" get`)
	if strings.Contains(out, "got r-token") || !strings.Contains(out, "got new-token") || strings.Contains(out, "warned") {
		t.Error(out)
	}
}

func TestDamagedFileCountsAsNothing(t *testing.T) {
	k := newKeyring(t)
	k.sh(unlocked + `"$0" set r-token`)
	name := filepath.Join(k.home, "store", "secret-refresh")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range [][]byte{nil, []byte("{}"), whole[:len(whole)/2], bytes.Replace(whole, []byte(`"box":"`), []byte(`"box":"AAAA`), 1)} {
		if err := os.WriteFile(name, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if out := k.sh(unlocked + `"$0" get; "$0" set again; "$0" get`); !strings.Contains(out, "NONE") || !strings.Contains(out, "got again") {
			t.Errorf("%q: %s", raw, out)
		}
	}
}
