package forward

import (
	"errors"
	"net/netip"
	"os/user"
	"testing"
	"time"

	"lanyard/platform/accounts"
	"lanyard/platform/spawn"
)

func TestWindowsForwardsPortsAndNothingElse(t *testing.T) {
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	a, err := accounts.Lookup(u.Username)
	if err != nil {
		t.Fatal(err)
	}
	w := NewWorker(a, nil, spawn.NewScopes().Open("s"), func(f func()) { f() }, time.Second)
	defer w.Close()
	l, err := w.Listen(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := netip.MustParseAddrPort(l.Addr().String())
	c, err := dial(t.Context(), &Login{Account: a, Worker: w}, at)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	const path = `C:\agent.sock`
	_, listen := w.ListenUnix(t.Context(), path)
	_, dial := w.DialUnix(t.Context(), path)
	_, _, agent := w.Agent(t.Context())
	_, _, x11 := w.X11(t.Context())
	for name, err := range map[string]error{"ListenUnix": listen, "DialUnix": dial, "Agent": agent, "X11": x11} {
		if errors.Is(err, errors.ErrUnsupported) {
			t.Attr("unsupported", "forward.Worker."+name)
		} else {
			t.Errorf("%s: %v", name, err)
		}
	}
}
