package machine

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"lanyard/mgmt/api"
)

func file(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "state.json")
}

func start(t *testing.T, path string) *Machine {
	t.Helper()
	m, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func TestMachineKeepsItsKeysAndWhatItWasTold(t *testing.T) {
	path := file(t)
	m := start(t, path)
	key, wg, host := m.Key(), m.WGPublic(), m.HostKey().PublicKey().Marshal()
	if err := m.Update(func(s *State) { s.PeerID, s.AllowSSH = "p1", true }); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && fi.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", fi, err)
	}
	m = start(t, path)
	if !m.Key().Equal(key) || !bytes.Equal(m.WGPublic(), wg) || !bytes.Equal(m.HostKey().PublicKey().Marshal(), host) {
		t.Error("it has other keys")
	}
	if st := m.State(); !st.Enrolled() || !st.AllowSSH {
		t.Errorf("it forgot: %+v", st)
	}
	other := start(t, file(t))
	if other.Key().Equal(key) || bytes.Equal(other.WGPublic(), wg) || bytes.Equal(other.HostKey().PublicKey().Marshal(), host) {
		t.Error("two machines share a key")
	}
}

func TestHostKeysAreSignedByTheMachineKey(t *testing.T) {
	m := start(t, file(t))
	keys := m.SignedHostKeys()
	if len(keys) != 1 || !bytes.Equal(keys[0].Key, m.HostKey().PublicKey().Marshal()) {
		t.Fatalf("%+v", keys)
	}
	if !ed25519.Verify(m.Key().Public().(ed25519.PublicKey), api.HostKeyMessage(keys[0].Key), keys[0].Sig) {
		t.Error("the signature is wrong")
	}
}

func TestProfileHasOneProcess(t *testing.T) {
	path := file(t)
	m := start(t, path)
	if _, err := Open(path); !errors.Is(err, ErrRunning) {
		t.Errorf("a second one: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, path)
}

// What cannot be read may be a whole identity: it is named and left as it is, and frees the profile.
func TestFileThatCannotBeReadIsLeftAlone(t *testing.T) {
	path := file(t)
	if err := start(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ content, want string }{
		"empty":                 {"", "damaged"},
		"truncated":             {string(good[:len(good)/2]), "damaged"},
		"newer":                 {strings.Replace(string(good), `"format": 1`, `"format": 2`, 1), api.ErrFormat.Error()},
		"no keys":               {`{"format": 1}`, "holds no keys"},
		"another host key":      {strings.Replace(string(good), `"host_key": "`, `"host_key": "AAAA`, 1), "holds no keys"},
		"another machine key":   {strings.Replace(string(good), `"machine_key": "`, `"machine_key": "AAAA`, 1), "holds no keys"},
		"another WireGuard key": {strings.Replace(string(good), `"wg_key": "`, `"wg_key": "AAAA`, 1), "holds no keys"},
	} {
		if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != c.content {
			t.Errorf("%s: the file was changed", name)
		}
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, path)
}

func TestChangeThatCannotBeWrittenIsNone(t *testing.T) {
	path := file(t)
	m := start(t, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := m.Update(func(s *State) { s.PeerID = "p1" }); err == nil {
		t.Fatal("it says that it was written")
	}
	if st := m.State(); st.Enrolled() {
		t.Error("it is in force all the same")
	}
}
