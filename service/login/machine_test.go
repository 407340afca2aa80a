package login

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/platform/paths"
	"lanyard/service/ipc"
	"lanyard/sshd/token"
)

// vouching is a daemon that knows who its caller is.
type vouching struct {
	account string // "": no policy names it
	err     error
	now     func() time.Time

	mu    sync.Mutex
	asked int
}

func (v *vouching) Certificate(_ context.Context, key []byte) (*ipc.MachineCertificate, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked++
	switch {
	case v.err != nil:
		return nil, v.err
	case v.account == "":
		return nil, &api.Error{Status: http.StatusForbidden, Code: "no-rule"}
	}
	pub, err := ssh.ParsePublicKey(key)
	if err != nil {
		return nil, err
	}
	c, err := token.MintMachine(ed25519.NewKeyFromSeed(make([]byte, 32)), pub, token.Machine{Peer: "p1", Account: v.account, AccountID: "1001"}, v.now())
	if err != nil {
		return nil, err
	}
	return &ipc.MachineCertificate{Certificate: c.Marshal(), Account: v.account, Life: api.Secs(token.MachineLifetime)}, nil
}

func machineHome(t *testing.T) (Config, *vouching, *time.Time) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("LANYARD_STATE_DIR", filepath.Join(dir, "state"))
	now := time.Now()
	clock := func() time.Time { return now }
	return Config{Paths: paths.User("default"), Now: clock}, &vouching{account: "ansible", now: clock}, &now
}

func TestMachineCertificateIsMadeAndRenewedAtHalfItsLife(t *testing.T) {
	c, by, now := machineHome(t)
	ensure := func() {
		t.Helper()
		if err := c.EnsureMachine(t.Context(), by, "p1", "builder,ansible"); err != nil {
			t.Fatal(err)
		}
	}
	ensure()
	keyName, certName, freshName := c.Paths.MachineIdentity("p1")
	for _, name := range []string{keyName, certName, freshName} {
		if fi, err := os.Stat(name); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, fi, err)
		}
	}
	key, _ := os.ReadFile(keyName)
	first, _ := os.ReadFile(certName)
	priv, err := ssh.ParsePrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(first)
	if err != nil || string(pub.(*ssh.Certificate).Key.Marshal()) != string(priv.PublicKey().Marshal()) {
		t.Errorf("the certificate is for another key (%v)", err)
	}
	*now = now.Add(token.MachineLifetime/2 - 2*time.Second)
	ensure()
	if by.asked != 1 {
		t.Errorf("asked %d times for what was fresh", by.asked)
	}
	*now = now.Add(3 * time.Second)
	ensure()
	again, _ := os.ReadFile(certName)
	if k, _ := os.ReadFile(keyName); by.asked != 2 || string(again) == string(first) || string(k) != string(key) {
		t.Errorf("asked %d times; certificate the same: %v; key the same: %v", by.asked, string(again) == string(first), string(k) == string(key))
	}
}

func TestManyAtOnceMakeOneMachineCertificate(t *testing.T) {
	c, by, _ := machineHome(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := c.EnsureMachine(t.Context(), by, "p1", "ansible"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if by.asked != 1 {
		t.Errorf("asked %d times", by.asked)
	}
}

func TestNoMachineCertificateWhereNoRuleNamesTheAccount(t *testing.T) {
	c, by, _ := machineHome(t)
	_, certName, freshName := c.Paths.MachineIdentity("p1")
	for _, account := range []string{"", "builder"} { // nobody's; one that other machines let in
		by.account = account
		if err := c.EnsureMachine(t.Context(), by, "p1", "ansible"); !errors.Is(err, ErrNoMachineRule) {
			t.Errorf("%q: %v", account, err)
		}
		if MachineAccount(t.Context(), by) != (account != "") {
			t.Errorf("%q: wrong about whether it is an account of a machine's", account)
		}
		for _, name := range []string{certName, freshName} {
			if _, err := os.Stat(name); err == nil {
				t.Errorf("%q: %s was written", account, name)
			}
		}
	}
	by.err = errors.New("the service is away")
	if err := c.EnsureMachine(t.Context(), by, "p1", "ansible"); err == nil || errors.Is(err, ErrNoMachineRule) {
		t.Error(err)
	}
}

// The names of machine certificates are nobody's login, whatever the profiles are called.
func TestMachineCertificateIsNoLogin(t *testing.T) {
	c, by, _ := machineHome(t)
	if err := c.EnsureMachine(t.Context(), by, "p1", "ansible"); err != nil {
		t.Fatal(err)
	}
	for _, profile := range []string{"default", "machine", "machine-default"} {
		p := paths.User(profile)
		if peer, ok := Find(p); ok {
			t.Errorf("profile %s: the machine certificate looks like a login on %q", profile, peer)
		}
		key, _, _ := p.Identity("p1")
		if _, err := os.Stat(key); err == nil || strings.Contains(filepath.Base(key), ".") {
			t.Errorf("profile %s: %s", profile, key)
		}
	}
	if c.SignedIn("p1") {
		t.Error("somebody is signed in")
	}
}
