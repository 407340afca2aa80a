package daemon

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/platform/paths"
	"lanyard/service/ipc"
	"lanyard/service/machine"
	"lanyard/service/netmap/netmaptest"
	"lanyard/test/calm"
)

// box is one installation that a test starts and stops.
type box struct {
	t      *testing.T
	srv    *netmaptest.Server
	daemon *Daemon
	ipc    *ipc.Client
	state  string
	// profile, where it is not the default one
	profile string
}

func newBox(t *testing.T) *box {
	t.Helper()
	dir, err := os.MkdirTemp("", "box") // short: a socket's path has 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Setenv("LANYARD_STATE_DIR", filepath.Join(dir, "s"))
	t.Setenv("LANYARD_RUN_DIR", filepath.Join(dir, "r"))
	t.Setenv("HOME", filepath.Join(dir, "home"))
	b := &box{t: t, srv: netmaptest.New(t), state: filepath.Join(dir, "s", "default")}
	b.start()
	t.Cleanup(b.stop)
	return b
}

func (b *box) open() (*Daemon, error) {
	return Open(Options{
		Profile: cmp.Or(b.profile, paths.DefaultProfile), Userspace: true, Program: "/usr/local/bin/lanyard", Release: "test",
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
}

func (b *box) start() {
	b.t.Helper()
	d, err := b.open()
	if err != nil {
		b.t.Fatal(err)
	}
	b.daemon = d
	if b.ipc, err = ipc.Dial(cmp.Or(b.profile, paths.DefaultProfile)); err != nil {
		b.t.Fatal(err)
	}
}

// stop ends the daemon; it must not take long.
func (b *box) stop() {
	b.t.Helper()
	if b.daemon == nil {
		return
	}
	b.ipc.Close()
	clock := calm.Start()
	if err := b.daemon.Close(); err != nil {
		b.t.Errorf("close: %v", err)
	}
	if took := clock.Stop(); took > 5*time.Second {
		b.t.Errorf("closing took %s", took)
	}
	b.daemon = nil
}

// wait polls the status.
func (b *box) wait(what string, ok func(*ipc.Status) bool) *ipc.Status {
	b.t.Helper()
	end := time.Now().Add(time.Minute)
	for {
		st, err := b.ipc.Status(b.t.Context())
		if err != nil {
			b.t.Fatal(err)
		}
		if ok(st) {
			return st
		}
		if time.Now().After(end) {
			b.t.Fatalf("waited in vain: %s; the status is %+v", what, st)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// up joins, with the first map arriving as the machine follows, and returns the machine as a peer.
func (b *box) up(r ipc.UpRequest) (api.Peer, error) {
	b.t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := b.ipc.Up(context.Background(), r, nil)
		done <- err
	}()
	end := time.Now().Add(time.Minute)
	for time.Now().Before(end) {
		for id, e := range b.srv.Enrolled() {
			self, _ := netmaptest.Peer(id, e.Name, 2)
			self.WGKey, self.MachineKey = e.WGKey, e.MachineKey
			b.srv.Push(netmaptest.Map(1, self))
			return self, <-done
		}
		select {
		case err := <-done:
			return api.Peer{}, err
		case <-time.After(5 * time.Millisecond):
		}
	}
	b.t.Fatal("the machine did not enrol")
	return api.Peer{}, nil
}

func connected(s *ipc.Status) bool { return s.State == ipc.StateConnected }

func TestMachineJoinsWithASetupKeyAndConnects(t *testing.T) {
	b := newBox(t)
	if st := b.wait("new", func(*ipc.Status) bool { return true }); st.State != ipc.StateNew {
		t.Errorf("before up the state is %s", st.State)
	}
	yes := true
	self, err := b.up(ipc.UpRequest{URL: b.srv.URL, SetupKey: b.srv.SetupKey(), Name: "web-1", AllowSSH: &yes})
	if err != nil {
		t.Fatal(err)
	}
	st := b.wait("connected", connected)
	if st.Self.Name != "web-1" || st.Self.Addr4 != self.Addr4 || st.Tunnel.Mode != "userspace" || !st.SSH.Allowed || st.SSH.Serving {
		t.Errorf("the status is %+v, ssh %+v", st.Self, st.SSH)
	}
	b.srv.Wait(t, self.ID, "version 1 is in force, facts are told", func(s netmaptest.State) bool {
		return len(s.Acks) > 0 && s.Acks[len(s.Acks)-1].Version == 1 && s.Self.ServesSSH && len(s.Self.Endpoints) > 0
	})
	// A rule makes it serve.
	web := netmaptest.Map(2, self)
	web.Rules = []api.Rule{{ID: "r1", Name: "r", Everyone: true, As: []string{"*"}}}
	b.srv.Push(web)
	b.wait("serving", func(s *ipc.Status) bool { return s.SSH.Serving && s.Map.Version == 2 })
	for _, name := range []string{"known_hosts", "ssh_config", "map.json", "state.json"} {
		if _, err := os.Stat(filepath.Join(b.state, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestServerWorksAfterARestartWithTheManagementServerDown(t *testing.T) {
	b := newBox(t)
	self, err := b.up(ipc.UpRequest{URL: b.srv.URL, SetupKey: b.srv.SetupKey()})
	if err != nil {
		t.Fatal(err)
	}
	b.srv.Wait(t, self.ID, "version 1", func(s netmaptest.State) bool { return len(s.Acks) > 0 })
	b.srv.SetDown(true)
	b.stop()
	b.start()
	st := b.wait("offline", func(s *ipc.Status) bool { return s.State == ipc.StateOffline })
	if st.Self == nil || st.Self.ID != self.ID || st.Map.Version != 1 || st.Map.Stale {
		t.Errorf("after the restart: %+v, map %+v", st.Self, st.Map)
	}
	if err := b.daemon.record(audit.Event{Type: audit.SessionStart, Session: "s1"}); err != nil {
		t.Fatal(err)
	}
	b.srv.SetDown(false)
	b.wait("connected again, audit delivered", func(s *ipc.Status) bool { return connected(s) && s.Audit.Pending == 0 })
	got := b.srv.Wait(t, self.ID, "the event", func(s netmaptest.State) bool { return len(s.Events) > 0 })
	if e := got.Events[0]; e.Session != "s1" || e.Peer != self.ID {
		t.Errorf("the event is %+v", e)
	}
}

func TestDownStaysDownAndKeepsTheIdentity(t *testing.T) {
	b := newBox(t)
	self, err := b.up(ipc.UpRequest{URL: b.srv.URL, SetupKey: b.srv.SetupKey()})
	if err != nil {
		t.Fatal(err)
	}
	st, err := b.ipc.Down(t.Context())
	if err != nil || st.State != ipc.StateDown {
		t.Fatalf("down: %+v, %v", st, err)
	}
	if _, err := os.Stat(filepath.Join(b.state, "ssh_config")); err == nil {
		t.Error("the ssh configuration is still there")
	}
	b.stop()
	b.start()
	if st := b.wait("still down", func(*ipc.Status) bool { return true }); st.State != ipc.StateDown {
		t.Errorf("after a restart the state is %s", st.State)
	}
	if _, err := b.ipc.Up(t.Context(), ipc.UpRequest{}, nil); err != nil {
		t.Fatal(err)
	}
	if st := b.wait("connected", connected); st.Self.ID != self.ID || len(b.srv.Enrolled()) != 1 {
		t.Errorf("it came back as %s; %d machines are enrolled", st.Self.ID, len(b.srv.Enrolled()))
	}
}

// A management server that was put back from a backup of before does not know the machine; whoever says 'lanyard up' joins
// again, and nobody else does.
func TestMachineThatItsServerForgotJoinsAgainByUp(t *testing.T) {
	b := newBox(t)
	self, err := b.up(ipc.UpRequest{URL: b.srv.URL, SetupKey: b.srv.SetupKey()})
	if err != nil {
		t.Fatal(err)
	}
	b.srv.Forget(self.ID)
	b.wait("the problem", func(s *ipc.Status) bool {
		return slices.Contains(s.Problems, "This machine is not enrolled here (any more). [machine-removed]")
	})
	if st := b.daemon.machine.State(); st.PeerID != self.ID {
		t.Errorf("by itself it left the network: %+v", st)
	}
	again, err := b.up(ipc.UpRequest{SetupKey: b.srv.SetupKey()})
	if err != nil {
		t.Fatal(err)
	}
	if st := b.wait("connected", connected); again.ID == self.ID || st.Self.ID != again.ID || len(st.Problems) > 0 {
		t.Errorf("it came back as %s, was %s; the problems are %q", again.ID, self.ID, st.Problems)
	}
}

// While it was down it could not hear of it: the first 'lanyard up' does, and joins again.
func TestMachineThatItsServerForgotWhileItWasDownJoinsAgainByUp(t *testing.T) {
	b := newBox(t)
	self, err := b.up(ipc.UpRequest{URL: b.srv.URL, SetupKey: b.srv.SetupKey()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.ipc.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.srv.Forget(self.ID)
	again, err := b.up(ipc.UpRequest{SetupKey: b.srv.SetupKey()})
	if err != nil {
		t.Fatal(err)
	}
	if st := b.wait("connected", connected); again.ID == self.ID || st.Self.ID != again.ID || len(st.Problems) > 0 {
		t.Errorf("it came back as %s, was %s; the problems are %q", again.ID, self.ID, st.Problems)
	}
}

// Whoever says it in a session of the network that forgot the machine is cut off by that: the machine joins all the same.
func TestMachineThatItsServerForgotJoinsAgainForACallerWhoIsGone(t *testing.T) {
	b := newBox(t)
	self, err := b.up(ipc.UpRequest{URL: b.srv.URL, SetupKey: b.srv.SetupKey()})
	if err != nil {
		t.Fatal(err)
	}
	b.srv.Forget(self.ID)
	b.wait("the refusal", func(*ipc.Status) bool { return b.daemon.network().stranger() != nil })
	gone, leave := context.WithCancel(t.Context())
	leave()
	if _, err := b.daemon.up(gone, ipc.UpRequest{SetupKey: b.srv.SetupKey()}, func(string) {}); err == nil {
		t.Error("a caller who was gone was waited with")
	}
	if st := b.daemon.machine.State(); !st.Enrolled() || st.PeerID == self.ID {
		t.Errorf("the machine is %+v", st)
	}
}

func TestRemovedMachineForgetsTheNetworkAndMayJoinAgain(t *testing.T) {
	b := newBox(t)
	self, err := b.up(ipc.UpRequest{URL: b.srv.URL, SetupKey: b.srv.SetupKey()})
	if err != nil {
		t.Fatal(err)
	}
	b.srv.Send(t, self.ID, api.Down{Gone: "An administrator removed this machine."})
	st := b.wait("removed", func(s *ipc.Status) bool { return s.State == ipc.StateRemoved })
	if said := "An administrator removed this machine."; !slices.Contains(st.Problems, said) || st.Removed != said {
		t.Errorf("removed: %q, the problems are %q", st.Removed, st.Problems)
	}
	b.wait("the map is gone", func(*ipc.Status) bool {
		_, err := os.Stat(filepath.Join(b.state, "map.json"))
		return os.IsNotExist(err)
	})
	// By itself it joins again only by a key that was left for it since.
	t.Setenv("LANYARD_MANAGEMENT_URL", b.srv.URL)
	b.stop()
	b.start()
	b.wait("still removed", func(s *ipc.Status) bool { return s.State == ipc.StateRemoved })
	need, err := b.ipc.Up(t.Context(), ipc.UpRequest{}, nil)
	if err != nil || !need {
		t.Errorf("up again, without a setup key: need login %v, %v", need, err)
	}
	if err := b.daemon.machine.Update(func(s *machine.State) { s.Removed = "An administrator removed this machine." }); err != nil {
		t.Fatal(err)
	}
	b.stop()
	key := b.leave("setup-key", b.srv.SetupKey()+"\n")
	b.start()
	b.wait("part of a network again", func(s *ipc.Status) bool {
		st := b.daemon.machine.State()
		return s.State != ipc.StateRemoved && st.Enrolled()
	})
	b.quiet(key)
}

func TestSetupKeyOfAnotherServerIsNotBelieved(t *testing.T) {
	b := newBox(t)
	other := netmaptest.New(t)
	_, err := b.ipc.Up(t.Context(), ipc.UpRequest{URL: b.srv.URL, SetupKey: other.SetupKey()}, nil)
	if err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("up says %v", err)
	}
	if st := b.wait("new", func(*ipc.Status) bool { return true }); st.State != ipc.StateNew {
		t.Errorf("the state is %s", st.State)
	}
}

func TestEnrolmentByAPersonCoversExactlyThisMachinesRequest(t *testing.T) {
	b := newBox(t)
	need, err := b.ipc.Up(t.Context(), ipc.UpRequest{URL: b.srv.URL, Name: "laptop"}, nil)
	if err != nil || !need {
		t.Fatalf("up: need login %v, %v", need, err)
	}
	m, err := b.ipc.Machine(t.Context())
	if err != nil || len(m.EnrollBody) == 0 || m.Name != "laptop" || m.Server != b.srv.URL {
		t.Fatalf("the machine is %+v, %v", m, err)
	}
	if _, err := b.ipc.Enroll(t.Context(), ipc.EnrollByPerson{Body: append(m.EnrollBody, ' ')}); err == nil {
		t.Error("another request than the machine's own was sent")
	}
	if _, err := b.ipc.Enroll(t.Context(), ipc.EnrollByPerson{Body: m.EnrollBody, Authorization: "DPoP x", Proof: "y"}); err != nil {
		t.Fatal(err)
	}
	if again, err := b.ipc.Machine(t.Context()); err != nil || !again.Enrolled || again.EnrollBody != nil {
		t.Errorf("after enrolment: %+v, %v", again, err)
	}
}

func TestSecondServiceOfAProfileIsRefusedAndTheFirstGoesOn(t *testing.T) {
	b := newBox(t)
	if d, err := b.open(); err == nil {
		d.Close()
		t.Fatal("a second service of the same profile started")
	} else if !strings.Contains(err.Error(), "another Lanyard service") {
		t.Errorf("it says %v", err)
	}
	b.wait("the first answers", func(*ipc.Status) bool { return true })
}

func TestStateOfANewerVersionIsRefusedAndLeftAlone(t *testing.T) {
	b := newBox(t)
	b.stop()
	name := filepath.Join(b.state, "state.json")
	for content, says := range map[string]string{`{"format": 99, "x": 1}`: "newer version", `{"format": 1`: "damaged", `{"format": 1}`: "no keys"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if d, err := b.open(); err == nil {
			d.Close()
			t.Fatalf("%s was taken", content)
		} else if !strings.Contains(err.Error(), says) {
			t.Errorf("%s: it says %v, want %q", content, err, says)
		}
		if got, _ := os.ReadFile(name); string(got) != content {
			t.Errorf("the file was changed to %q", got)
		}
	}
}

func TestUnusableMapIsToldOfAndFetchedAgain(t *testing.T) {
	b := newBox(t)
	if _, err := b.up(ipc.UpRequest{URL: b.srv.URL, SetupKey: b.srv.SetupKey()}); err != nil {
		t.Fatal(err)
	}
	b.stop()
	if err := os.Truncate(filepath.Join(b.state, "map.json"), 100); err != nil {
		t.Fatal(err)
	}
	b.start()
	st := b.wait("connected", connected)
	if !strings.Contains(strings.Join(st.Problems, " "), "map.json.unusable") {
		t.Errorf("nobody is told: %q", st.Problems)
	}
}

func TestConnectNamesWhatIsMissing(t *testing.T) {
	b := newBox(t)
	_, err := b.ipc.Connect(t.Context(), "web-1", 22)
	var e *api.Error
	if e, _ = err.(*api.Error); e == nil || e.Status != http.StatusServiceUnavailable || !strings.Contains(e.Message, "lanyard up") {
		t.Errorf("connect while down: %v", err)
	}
}
