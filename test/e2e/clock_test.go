//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
)

// wrong is how far clocks are off here; sign-ins and proofs have a leeway of a minute.
const wrong = 10 * time.Minute

// The clock of one machine is wrong, of its service and of every program on it (test/skew says how). What cannot work
// then says so in one sentence, what can goes on, and when somebody sets the clock all is as before: nobody has to start
// anything again.
func TestWrongClockOfAMachine(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("needs amd64: test/skew knows no other machine's instructions")
	}
	w := openSmall(t)
	w.admin("policy", "add", "web", "--from", "everyone", "--to", "tag:web", "--as", "deploy")
	w.ready()
	ctx := within(t, 9*time.Minute)
	set := func(t *testing.T, p *lab.Peer, off time.Duration) {
		t.Helper()
		if err := p.SetClock(off); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{laptop, web} {
		set(t, w.peers[name], 0)
		if err := errors.Join(w.peers[name].Daemon.Stop(), w.peers[name].StartDaemon(ctx)); err != nil {
			t.Fatal(err)
		}
	}
	w.ready()
	w.login("ann")
	w.eventually("ann", "in\n", "echo in")
	// named: the machine's doctor knows what is wrong with it.
	named := func(t *testing.T, p *lab.Peer, account, want string) {
		t.Helper()
		out, err := p.Lanyard(ctx, account, "doctor")
		if err == nil || !strings.Contains(out, want+" the management server's. [clock-skew]") || !strings.Contains(out, "set the clock") {
			t.Errorf("doctor: %v\n%s", err, out)
		}
	}
	// In this order: WireGuard refuses handshakes of a clock that was ahead, once it is set (bind.refused in service/tunnel).
	for _, off := range []time.Duration{wrong, -wrong} {
		want := map[bool]string{true: "ahead of", false: "behind"}[off > 0]
		t.Run("the client's, "+want, func(t *testing.T) {
			w, p := w.on(t), w.peers[laptop]
			set(t, p, off)
			sentence(t, "a sign-in", finish(p.Command(ctx, "bob", w.lab.Program("lanyard"), "login")), "clocks", "[clock-skew]")
			w.expire("ann")
			// The server's clock is right, and ann's sign-in good: she gets in, and is told why it is not renewed.
			if r := w.ssh("ann", "echo in"); r.out != "in\n" || strings.Count(r.err, "\n") != 1 || !strings.Contains(r.err, "[clock-skew]") {
				t.Errorf("ann, who is signed in: %s", r)
			}
			named(t, p, "ann", want)
			if out, err := p.Lanyard(ctx, "ann", "status"); err != nil || strings.Contains(out, "-9m") || strings.Contains(out, "-10m") {
				t.Errorf("status tells of the future: %v\n%s", err, out)
			}
			// A service that begins with this clock is not let in either, and says why.
			if err := errors.Join(p.Daemon.Stop(), p.StartDaemon(ctx)); err != nil {
				t.Fatal(err)
			}
			until(t, "status to name the clock", func() error {
				out, err := p.Lanyard(ctx, "ann", "status")
				if err == nil && !strings.Contains(out, "[clock-skew]") {
					err = errors.New(out)
				}
				return err
			})
			set(t, p, 0)
			until(t, "the service to be back in touch", w.connected(p))
			w.eventually("ann", "in\n", "echo in")
			if r := w.ssh("ann", "echo in"); r.err != "" {
				t.Errorf("ann, with the clock set: %s", r)
			}
			w.login("bob")
			if out, err := p.Lanyard(ctx, "bob", "logout"); err != nil {
				t.Error(out, err)
			}
		})
		t.Run("the server's, "+want, func(t *testing.T) {
			w, p := w.on(t), w.peers[web]
			set(t, p, off)
			// The connection that is there goes on: it has to be made anew.
			if err := errors.Join(w.mgmt.Process.Stop(), w.mgmt.Start(ctx)); err != nil {
				t.Fatal(err)
			}
			until(t, "status to name the clock", func() error {
				out, err := p.Lanyard(ctx, "", "status")
				if err == nil && !strings.Contains(out, "[clock-skew]") {
					err = errors.New(out)
				}
				return err
			})
			named(t, p, "", want)
			// By its last map it knows better than its clock that this sign-in is not of the future.
			w.login("carol")
			w.eventually("carol", "in\n", "echo in")
			s := w.open("carol")
			set(t, p, 0)
			until(t, "the service to be back in touch", w.connected(p))
			if !s.alive() {
				t.Errorf("the session ended when the clock was set:\n%s", s.Text())
			}
			s.Stop()
			w.eventually("ann", "in\n", "echo in")
		})
	}
}

func until(t *testing.T, what string, f func() error) {
	t.Helper()
	if err := lab.Until(within(t, 2*time.Minute), what, f); err != nil {
		t.Error(err)
	}
}

// connected reports whether a machine is in touch with the management server.
func (w *world) connected(p *lab.Peer) func() error {
	return func() error {
		st, err := p.Status(w.t.Context())
		if err == nil && st.State != "connected" {
			err = fmt.Errorf("state %s", st.State)
		}
		return err
	}
}
