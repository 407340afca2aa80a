//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"lanyard/test/lab"
)

// agentEnv makes this test program the dialog of a desktop: an authentication agent for the process whose id it holds.
const agentEnv = "LANYARD_E2E_AGENT"

const polkit = "org.freedesktop.PolicyKit1"

// polkitAgent answers as a person would at the dialog: by the file /tmp/dialog, "cancel" or "allow". What
// polkit-agent-helper-1 does after it has checked a password is to call AuthenticationAgentResponse2, as root; this
// program is root, and does that part alone.
type polkitAgent struct{ authority dbus.BusObject }

type polkitIdentity struct {
	Kind    string
	Details map[string]dbus.Variant
}

func (a *polkitAgent) BeginAuthentication(action, message, _ string, _ map[string]string, cookie string, identities []polkitIdentity) *dbus.Error {
	fmt.Printf("asked %s: %s\n", action, message)
	answer, _ := os.ReadFile("/tmp/dialog")
	if string(answer) != "allow" || len(identities) == 0 {
		return dbus.NewError(polkit+".Error.Cancelled", []any{"the dialog was closed"})
	}
	if err := a.authority.Call(polkit+".Authority.AuthenticationAgentResponse2", 0, uint32(os.Getuid()), cookie, identities[0]).Err; err != nil {
		fmt.Println("response:", err)
		return dbus.MakeFailedError(err)
	}
	return nil
}

func (*polkitAgent) CancelAuthentication(string) *dbus.Error { return nil }

// runAgent registers the agent and stays.
func runAgent(pid string) error {
	n, err := strconv.ParseUint(pid, 10, 32)
	if err != nil {
		return err
	}
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	start, err := strconv.ParseUint(strings.Fields(rest)[19], 10, 64) // proc(5), field 22
	if err != nil {
		return err
	}
	bus, err := dbus.ConnectSystemBus()
	if err != nil {
		return err
	}
	uid, err := strconv.ParseInt(os.Getenv("LANYARD_E2E_UID"), 10, 32)
	if err != nil {
		return err
	}
	a := &polkitAgent{bus.Object(polkit, "/org/freedesktop/PolicyKit1/Authority")}
	if err := bus.Export(a, "/agent", polkit+".AuthenticationAgent"); err != nil {
		return err
	}
	subject := polkitIdentity{"unix-process", map[string]dbus.Variant{
		"pid": dbus.MakeVariant(uint32(n)), "start-time": dbus.MakeVariant(start), "uid": dbus.MakeVariant(int32(uid)),
	}}
	if err := a.authority.Call(polkit+".Authority.RegisterAuthenticationAgent", 0, subject, "C", "/agent").Err; err != nil {
		return err
	}
	fmt.Println("registered")
	select {}
}

// clickRow clicks a row of the tray's menu, as a panel does.
func (n *notices) clickRow(t *testing.T, title string) {
	t.Helper()
	if err := lab.Until(within(t, 90*time.Second), "the row "+title, func() error {
		var names []string
		if err := n.conn.BusObject().Call("org.freedesktop.DBus.ListNames", 0).Store(&names); err != nil {
			return err
		}
		for _, name := range names {
			if !strings.HasPrefix(name, "org.kde.StatusNotifierItem-") {
				continue
			}
			tray := n.conn.Object(name, "/StatusNotifierItem/menu")
			var raw []any
			layout := func() (string, error) {
				var rev uint32
				raw = nil
				err := tray.Call("com.canonical.dbusmenu.GetLayout", 0, int32(0), int32(-1), []string{}).Store(&rev, &raw)
				return fmt.Sprint(raw), err
			}
			if _, err := layout(); err != nil { // the library cuts the first answer off at the top level
				return err
			}
			before, err := layout()
			if err != nil {
				return err
			}
			time.Sleep(time.Second) // a click on a row that has just changed does not count
			if now, err := layout(); err != nil || now != before {
				return fmt.Errorf("the menu changes: %w", err)
			}
			id, ok := findRow(raw, title)
			if !ok {
				return errors.New("it is not there")
			}
			return tray.Call("com.canonical.dbusmenu.Event", 0, id, "clicked", dbus.MakeVariant(""), uint32(0)).Err
		}
		return errors.New("no tray on the bus")
	}); err != nil {
		t.Fatal(err)
	}
}

func findRow(raw []any, title string) (int32, bool) {
	if p, ok := raw[1].(map[string]dbus.Variant)["label"]; ok && strings.HasPrefix(p.Value().(string), title) {
		return raw[0].(int32), true
	}
	for _, v := range raw[2].([]dbus.Variant) {
		if id, ok := findRow(v.Value().([]any), title); ok {
			return id, true
		}
	}
	return 0, false
}

// titled waits for a notification with that title, after the first skip of those.
func (n *notices) titled(t *testing.T, title string, skip int) notice {
	t.Helper()
	var found notice
	if err := lab.Until(within(t, 60*time.Second), "the notification "+title, func() error {
		n.mu.Lock()
		defer n.mu.Unlock()
		left := skip
		for _, x := range n.all {
			if x.title == title {
				if found = x; left == 0 {
					return nil
				}
				left--
			}
		}
		return fmt.Errorf("among %+v", n.all)
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

// An ordinary account allows SSH to this computer by the tray: real pkexec and polkitd ask, and the answer counts.
func TestAllowingSSHFromAnOrdinaryAccountAsksPolkit(t *testing.T) {
	needsRoot(t)
	w := open(t, false)
	m := w.peers[laptop]
	ctx := within(t, 3*time.Minute)
	allowed := func() bool {
		t.Helper()
		s, err := m.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return s.SSH.Allowed
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(m.Write("/tmp/agent", "", 0o755, program))
	must(m.Run(ctx, "", "mkdir", "-p", "/run/dbus"))
	_, err = m.Start("system-bus", "", "dbus-daemon", "--system", "--nofork", "--nopidfile")
	must(err)
	must(lab.Until(ctx, "the system bus", func() error { _, err := os.Stat(m.Path("/run/dbus/system_bus_socket")); return err }))
	_, err = m.Start("polkitd", "", "/usr/lib/polkit-1/polkitd", "--no-debug")
	must(err)
	must(lab.Until(ctx, "polkitd", func() error {
		return m.Run(ctx, "", "dbus-send", "--system", "--print-reply", "--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.GetNameOwner", "string:"+polkit)
	}))

	desk := w.desktop(nil)
	const row, failed = "Allow SSH to this computer", "That did not work"
	desk.clickRow(t, row)
	none := desk.titled(t, failed, 0)
	if !strings.Contains(none.body, "sudo lanyard up --allow-ssh=true") || allowed() {
		t.Errorf("without an agent: %+v, allowed: %v", none, allowed())
	}

	pid, err := m.Output(ctx, "", "pgrep", "-x", "lanyard-tray")
	must(err)
	uid, err := m.Output(ctx, "", "id", "-u", "ann")
	must(err)
	c := m.Command(context.Background(), "", "/tmp/agent")
	c.Env = append(c.Env, agentEnv+"="+strings.TrimSpace(pid), "LANYARD_E2E_UID="+strings.TrimSpace(uid))
	agent, err := m.StartCommand("agent", c)
	must(err)
	must(lab.Until(ctx, "the agent", func() error {
		if !strings.Contains(agent.Text(), "registered") {
			return errors.New(agent.Text())
		}
		return nil
	}))
	must(m.Write("/tmp/dialog", "", 0o644, []byte("cancel")))
	desk.clickRow(t, row)
	refused := desk.titled(t, failed, 1)
	if !strings.Contains(refused.body, "Administrator rights were not given; nothing was changed.") || allowed() {
		t.Errorf("refused: %+v, allowed: %v", refused, allowed())
	}
	must(m.Write("/tmp/dialog", "", 0o644, []byte("allow")))
	desk.clickRow(t, row)
	if err := lab.Until(within(t, 60*time.Second), "SSH switched on", func() error {
		if !allowed() {
			return errors.New("it is off: " + agent.Text())
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	want := "`" + filepath.Join(w.lab.Bin(), "lanyard") + "' as the super user"
	if said := agent.Text(); strings.Count(said, want) != 2 || !strings.Contains(said, "org.freedesktop.policykit.exec") {
		t.Errorf("the dialog was shown: %s", said)
	}
}
