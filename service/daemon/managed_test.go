package daemon

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"lanyard/mgmt/api"
	"lanyard/service/ipc"
	"lanyard/service/netmap/netmaptest"
)

// leave writes a file beside limits.yaml.
func (b *box) leave(name, text string) string {
	b.t.Helper()
	file := filepath.Join(b.state, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return file
}

func TestWhatTheAdministratorSettledHolds(t *testing.T) {
	b := newBox(t)
	b.stop()
	b.leave("managed.yaml", "allow_ssh: true\nmanagement_url: "+b.srv.URL+"\n")
	b.start()
	no, yes := false, true
	_, err := b.ipc.Up(t.Context(), ipc.UpRequest{SetupKey: b.srv.SetupKey(), AllowSSH: &no}, nil)
	if err == nil || !strings.Contains(err.Error(), "settled allow_ssh") {
		t.Errorf("a person switched SSH off: %v", err)
	}
	_, err = b.ipc.Up(t.Context(), ipc.UpRequest{URL: "https://192.0.2.1", SetupKey: b.srv.SetupKey()}, nil)
	if err == nil || !strings.Contains(err.Error(), "settled management_url") {
		t.Errorf("a person chose another network: %v", err)
	}
	if _, err := b.up(ipc.UpRequest{SetupKey: b.srv.SetupKey(), AllowSSH: &yes}); err != nil {
		t.Fatal(err)
	}
	st := b.wait("connected", connected)
	if !st.SSH.Allowed || !slices.Equal(st.Managed, []string{"management_url", "allow_ssh"}) {
		t.Errorf("SSH %+v, settled %q", st.SSH, st.Managed)
	}
	if said := strings.Join(st.Problems, " "); strings.Contains(said, "settled") {
		t.Errorf("in the network that is settled, it says %q", said)
	}
	b.stop()
	b.leave("managed.yaml", "management_url: https://192.0.2.1\n")
	b.start()
	b.wait("who is part of another network to say so", func(s *ipc.Status) bool {
		return strings.Contains(strings.Join(s.Problems, " "), "settled the network at https://192.0.2.1")
	})
}

func TestSettingsThatCannotBeReadForbidChanges(t *testing.T) {
	b := newBox(t)
	b.stop()
	b.leave("managed.yaml", "alow_ssh: false\n")
	b.start()
	_, err := b.ipc.Up(t.Context(), ipc.UpRequest{URL: b.srv.URL, SetupKey: b.srv.SetupKey()}, nil)
	if err == nil || !strings.Contains(err.Error(), "managed.yaml") {
		t.Errorf("a change was taken: %v", err)
	}
	st, _ := b.ipc.Status(t.Context())
	if !strings.Contains(strings.Join(st.Problems, " "), "managed.yaml") {
		t.Errorf("nobody is told: %q", st.Problems)
	}
}

func TestMachineThatWasInstalledWithAKeyJoinsByItself(t *testing.T) {
	b := newBox(t)
	b.stop()
	t.Setenv("LANYARD_MANAGEMENT_URL", b.srv.URL)
	t.Setenv("LANYARD_ALLOW_SSH", "yes")
	key := b.leave("setup-key", b.srv.SetupKey()+"\n")
	b.start()
	st := b.wait("joined", func(s *ipc.Status) bool {
		for id, e := range b.srv.Enrolled() {
			self, _ := netmaptest.Peer(id, e.Name, 2)
			self.WGKey, self.MachineKey = e.WGKey, e.MachineKey
			b.srv.Push(netmaptest.Map(1, self))
		}
		_, err := os.Stat(key)
		return connected(s) && os.IsNotExist(err)
	})
	if !st.SSH.Allowed || len(st.Managed) != 0 {
		t.Errorf("SSH %+v, settled %q", st.SSH, st.Managed)
	}
	b.stop()
	b.start() // what is in the environment joins once
	b.wait("connected again", connected)
	if n := len(b.srv.Enrolled()); n != 1 {
		t.Errorf("it enrolled %d times", n)
	}
}

func TestKeyThatTheServerRefusesIsToldOf(t *testing.T) {
	b := newBox(t)
	b.stop()
	t.Setenv("LANYARD_MANAGEMENT_URL", b.srv.URL)
	b.leave("setup-key", "not a key\n")
	b.start()
	b.wait("the reason", func(s *ipc.Status) bool { return strings.Contains(strings.Join(s.Problems, " "), "setup key") })
}

// told waits until a problem in the status has the words.
func (b *box) told(words string) {
	b.t.Helper()
	b.wait(words, func(s *ipc.Status) bool { return strings.Contains(strings.Join(s.Problems, "\n"), words) })
}

// quiet waits until the setup key's file is gone and the status tells of no key.
func (b *box) quiet(key string) {
	b.t.Helper()
	b.wait("the key to be gone", func(s *ipc.Status) bool {
		_, err := os.Lstat(key)
		return os.IsNotExist(err) && !strings.Contains(strings.Join(s.Problems, "\n"), "setup key")
	})
}

func TestKeyWithoutAServerIsToldOfAndGoesOnceTheMachineIsInANetwork(t *testing.T) {
	b := newBox(t)
	b.stop()
	key := b.leave("setup-key", "left by somebody\n")
	b.start()
	b.told("no management server to show it to")
	if _, err := b.up(ipc.UpRequest{URL: b.srv.URL, SetupKey: b.srv.SetupKey()}); err != nil {
		t.Fatal(err)
	}
	b.wait("connected", connected)
	b.quiet(key)
	b.stop()
	b.leave("setup-key", "left by an installer that was run again\n")
	b.start()
	b.quiet(key)
	b.wait("connected", connected)
}

func TestKeyForTheNetworkThatIsSettledWaitsUntilTheMachineIsRemovedFromAnother(t *testing.T) {
	b := newBox(t)
	self, err := b.up(ipc.UpRequest{URL: b.srv.URL, SetupKey: b.srv.SetupKey()})
	if err != nil {
		t.Fatal(err)
	}
	b.stop()
	settled := netmaptest.New(t)
	b.leave("managed.yaml", "management_url: "+settled.URL+"\n")
	key := b.leave("setup-key", settled.SetupKey()+"\n")
	b.start()
	b.wait("connected", connected)
	b.told("it joins by the setup key that was left for it when its service starts again")
	b.stop() // and with it all that joins by itself
	if _, err := os.Lstat(key); err != nil {
		t.Fatalf("the key is gone unused: %v", err)
	}
	b.start()
	b.wait("connected", connected)
	b.srv.Send(t, self.ID, api.Down{Gone: "An administrator removed this machine."})
	b.wait("removed", func(s *ipc.Status) bool { return s.State == ipc.StateRemoved })
	b.stop()
	b.start()
	b.wait("part of the network that is settled", func(*ipc.Status) bool { return len(settled.Enrolled()) == 1 })
	b.quiet(key)
}

func TestKeyThatOthersMayReadIsRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there the folder's access list keeps others out")
	}
	b := newBox(t)
	b.stop()
	t.Setenv("LANYARD_MANAGEMENT_URL", b.srv.URL)
	key := b.leave("setup-key", b.srv.SetupKey()+"\n")
	for _, mode := range []os.FileMode{0o644, 0o640, 0o606} {
		if err := os.Chmod(key, mode); err != nil {
			t.Fatal(err)
		}
		b.start()
		b.told("other users of this machine may read " + key)
		b.stop()
	}
	if n := len(b.srv.Enrolled()); n != 0 {
		t.Errorf("%d machines enrolled", n)
	}
	if err := os.Chmod(key, 0o600); err != nil {
		t.Fatal(err)
	}
	b.start()
	b.wait("a key for root alone to be used", func(*ipc.Status) bool { return len(b.srv.Enrolled()) == 1 })
	b.quiet(key)
}
