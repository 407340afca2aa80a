package daemon

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net/http"
	"os/user"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
	"lanyard/platform/accounts"
	"lanyard/service/ipc"
	"lanyard/service/netmap/netmaptest"
	"lanyard/sshd/token"
)

func TestDaemonVouchesForAccountsThatAPolicyNames(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	b := newBox(t)
	pub, _, _ := ed25519.GenerateKey(rand.Reader)
	key, _ := ssh.NewPublicKey(pub)
	ask := func() (*ipc.MachineCertificate, error) { return b.ipc.Certificate(t.Context(), key.Marshal()) }
	status := func(err error) int {
		var e *api.Error
		errors.As(err, &e)
		if e == nil {
			return 0
		}
		return e.Status
	}
	if _, err := ask(); status(err) != http.StatusServiceUnavailable {
		t.Errorf("before the first map: %v", err)
	}
	self, err := b.up(ipc.UpRequest{URL: b.srv.URL, SetupKey: b.srv.SetupKey(), Name: "runner"})
	if err != nil {
		t.Fatal(err)
	}
	b.wait("connected", connected)
	web, _ := netmaptest.Peer("pweb", "web-1", 9)
	push := func(version uint64, names ...string) {
		web.MachineAccounts = names
		b.srv.Push(netmaptest.Map(version, self, web))
		b.wait("the map", func(s *ipc.Status) bool { return s.Map != nil && s.Map.Version == version })
	}
	push(2, "somebody")
	_, err = ask()
	var refused *api.Error
	if !errors.As(err, &refused) || refused.Code != string(reason.NoRule) {
		t.Errorf("an account that no policy names: %v", err)
	}
	push(3, "somebody", me.Username)
	got, err := ask()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := ssh.ParsePublicKey(got.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	m, err := (&token.Trust{}).VerifyMachine(parsed.(*ssh.Certificate), self, time.Now())
	if err != nil || m.Account != me.Username || m.AccountID != me.Uid || m.Peer != self.ID || got.Account != me.Username {
		t.Errorf("%+v for %q, %v", m, got.Account, err)
	}
	if k := parsed.(*ssh.Certificate).Key.Marshal(); string(k) != string(key.Marshal()) {
		t.Error("the certificate is for another key")
	}
	if _, err := b.ipc.Certificate(t.Context(), []byte("junk")); status(err) != http.StatusBadRequest {
		t.Errorf("junk for a key: %v", err)
	}
	if _, err := b.ipc.Certificate(t.Context(), parsed.Marshal()); status(err) != http.StatusBadRequest {
		t.Errorf("a certificate for a key: %v", err)
	}
	push(4)
	if _, err := ask(); status(err) != http.StatusForbidden {
		t.Errorf("after the rule was removed: %v", err)
	}
}

func TestOnlyOneAccountCanBeMeant(t *testing.T) {
	known := map[string]accounts.Account{
		"ansible": {Name: "ansible", UID: "1001"}, "root": {Name: "root", UID: "0"}, "toor": {Name: "toor", UID: "0"},
		"nobody": {Name: "nobody", UID: "65534"},
	}
	lookup := func(name string) (accounts.Account, error) {
		if a, ok := known[name]; ok {
			return a, nil
		}
		return accounts.Account{}, accounts.ErrNotFound
	}
	for _, c := range []struct {
		name, id string
		want     string
	}{
		{"ansible", "1001", "ansible"},
		{"root", "0", "root"},
		{"toor", "0", ""},        // root is root
		{"ansible", "1002", ""},  // the name leads to another number
		{"ansible", "", ""},      // the kernel did not say
		{"uid 1002", "1002", ""}, // no name
		{"nobody", "65534", ""},  // several
	} {
		a, err := certifiable(ipc.Who{Account: ipc.Account{Name: c.name, ID: c.id}}, lookup)
		if a.Name != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s %s: %q, %v", c.name, c.id, a.Name, err)
		}
	}
}
