//go:build unix && !darwin

package notify

import (
	"bufio"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"lanyard/platform/sessionbus"
)

// panel shows notes as a desktop does.
type panel struct {
	conn  *dbus.Conn
	shown chan string
}

func (*panel) GetCapabilities() ([]string, *dbus.Error) {
	return []string{"actions", "body-markup"}, nil
}

func (p *panel) Notify(_ string, replaces uint32, _, title, body string, actions []string, _ map[string]dbus.Variant, _ int32) (uint32, *dbus.Error) {
	p.shown <- fmt.Sprintf("%d %s: %s %v", replaces, title, body, actions)
	if replaces == 0 {
		replaces = 7
	}
	return replaces, nil
}

func TestNoteIsShownReplacedAndPressed(t *testing.T) {
	daemon, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("needs dbus-daemon")
	}
	c := exec.CommandContext(t.Context(), daemon, "--session", "--nofork", "--print-address")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
	at, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", strings.TrimSpace(at))
	d, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Show(Note{Title: "x"}, nil); !errors.Is(err, ErrNone) {
		t.Errorf("on a desktop that shows none: %v", err)
	}
	conn, err := sessionbus.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p := &panel{conn, make(chan string, 1)}
	if err := conn.Export(p, "/org/freedesktop/Notifications", iface); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.RequestName(iface, 0); err != nil {
		t.Fatal(err)
	}
	pressed := make(chan string, 1)
	note := Note{Title: "Ann is here", Body: "<b>", Buttons: []Button{{"end", "End"}}, Group: "who"}
	for _, want := range []string{"0 Ann is here: &lt;b&gt; [end End]", "7 Ann is here: &lt;b&gt; [end End]"} {
		if err := d.Show(note, func(key string) { pressed <- key }); err != nil {
			t.Fatal(err)
		}
		if got := <-p.shown; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if err := conn.Emit("/org/freedesktop/Notifications", iface+".ActionInvoked", uint32(7), "end"); err != nil {
		t.Fatal(err)
	}
	select {
	case key := <-pressed:
		if key != "end" {
			t.Errorf("pressed %q", key)
		}
	case <-time.After(10 * time.Second):
		t.Error("the button does nothing")
	}
}

func TestWithoutADesktopNothingIsShown(t *testing.T) {
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	if _, err := Open(); !errors.Is(err, sessionbus.ErrNone) {
		t.Errorf("%v", err)
	}
}
