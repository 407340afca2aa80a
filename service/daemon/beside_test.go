package daemon

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"lanyard/platform/paths"
	"lanyard/service/ipc"
	"lanyard/service/netmap/netmaptest"
)

// Two networks with one range on a machine: the one that comes second says so, and ssh goes on knowing the first.
func TestSecondNetworkOfTheSameRangeIsNotTakenForTheFirst(t *testing.T) {
	b := newBox(t)
	if _, err := b.up(ipc.UpRequest{URL: b.srv.URL, SetupKey: b.srv.SetupKey()}); err != nil {
		t.Fatal(err)
	}
	prod := &box{t: t, srv: netmaptest.New(t), state: b.state, profile: "prod"}
	prod.start()
	t.Cleanup(func() { prod.stop() })
	files := func() (out string) {
		for _, profile := range []string{"default", "prod"} {
			if _, err := os.Stat(paths.For(profile).DropIn); err == nil {
				out += profile + " "
			}
		}
		return out
	}
	refused := func(err error, other string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "100.110.0.0/16 is also that of the profile '"+other+"'") || !strings.Contains(err.Error(), "'lanyard --profile "+other+" down'") {
			t.Errorf("error %v, want one that names %s", err, other)
		}
	}
	self, err := prod.up(ipc.UpRequest{URL: prod.srv.URL, SetupKey: prod.srv.SetupKey()})
	refused(err, "default")
	st := prod.wait("the problem", func(s *ipc.Status) bool { return len(s.Problems) > 0 })
	if !strings.Contains(strings.Join(st.Problems, "\n"), "two networks of this machine have the same range") {
		t.Errorf("the problems are %q", st.Problems)
	}
	prod.stop()
	prod.start()
	prod.srv.Push(netmaptest.Map(2, self))
	prod.wait("the problem, after a restart", func(s *ipc.Status) bool { return len(s.Problems) > 0 && s.State == ipc.StateConnecting })
	if got := files(); got != "default " {
		t.Errorf("ssh reads files of the profiles %q", got)
	}
	// The first one is in nobody's way, whenever its service starts.
	b.stop()
	b.start()
	b.wait("connected", connected)
	// Nor is it in its own way where an older service has left a file of the second.
	if err := os.WriteFile(paths.For("prod").DropIn, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.stop()
	b.start()
	b.wait("connected, beside an old file", connected)
	if err := os.Remove(paths.For("prod").DropIn); err != nil {
		t.Fatal(err)
	}

	if _, err := b.ipc.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := prod.ipc.Up(t.Context(), ipc.UpRequest{}, nil); err != nil {
		t.Fatal(err)
	}
	prod.wait("connected", connected)
	if got := files(); got != "prod " {
		t.Errorf("ssh reads files of the profiles %q", got)
	}
	_, err = b.ipc.Up(t.Context(), ipc.UpRequest{}, nil)
	refused(err, "prod")
	// A range of its own is in nobody's way either.
	if err := b.daemon.beside(netip.MustParsePrefix("100.111.0.0/16")); err != nil {
		t.Errorf("a range that nobody has: %v", err)
	}
}
