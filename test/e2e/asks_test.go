//go:build linux

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"lanyard/test/lab"
)

// notices is a desktop's notifications, without a screen.
type notices struct {
	conn *dbus.Conn

	mu  sync.Mutex
	all []notice // guarded by mu
}

type notice struct {
	id      uint32
	title   string
	body    string
	actions []string
}

const notifications = "org.freedesktop.Notifications"

func (*notices) GetCapabilities() ([]string, *dbus.Error) { return []string{"actions", "body"}, nil }

func (n *notices) Notify(_ string, _ uint32, _, title, body string, actions []string, _ map[string]dbus.Variant, _ int32) (uint32, *dbus.Error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, notice{uint32(len(n.all) + 1), title, body, actions})
	return uint32(len(n.all)), nil
}

// asked are those that want a sign-in for ssh.
func (n *notices) asked() (all []notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, x := range n.all {
		if strings.HasSuffix(x.title, " needs you to sign in") {
			all = append(all, x)
		}
	}
	return all
}

func (n *notices) press(t *testing.T, x notice, key string) {
	t.Helper()
	if err := n.conn.Emit("/org/freedesktop/Notifications", notifications+".ActionInvoked", x.id, key); err != nil {
		t.Fatal(err)
	}
}

// desktop starts ann's session on the laptop: a bus, notifications, and the tray with her browser.
func (w *world) desktop(env []string) *notices {
	w.t.Helper()
	m := w.peers[laptop]
	const socket = "/tmp/ann-bus"
	config := m.Home("ann") + "/bus.conf"
	if err := m.Write(config, "ann", 0o644, []byte(`<busconfig><type>session</type><listen>unix:path=`+socket+`</listen><auth>EXTERNAL</auth>`+
		`<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/></policy></busconfig>`)); err != nil {
		w.t.Fatal(err)
	}
	if _, err := m.Start("bus", "ann", "dbus-daemon", "--nofork", "--config-file="+config); err != nil { // this test, as root, shows the notes
		w.t.Fatal(err)
	}
	n := &notices{}
	if err := lab.Until(within(w.t, 60*time.Second), "the session's bus", func() (err error) {
		n.conn, err = dbus.Connect("unix:path=" + m.Path(socket))
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { n.conn.Close() })
	if err := n.conn.Export(n, "/org/freedesktop/Notifications", notifications); err != nil {
		w.t.Fatal(err)
	}
	if got, err := n.conn.RequestName(notifications, dbus.NameFlagDoNotQueue); err != nil || got != dbus.RequestNameReplyPrimaryOwner {
		w.t.Fatal(got, err)
	}
	c := m.Command(context.Background(), "ann", w.lab.Program("lanyard-tray"))
	c.Env = append(append(c.Env, env...), "DBUS_SESSION_BUS_ADDRESS=unix:path="+socket)
	if _, err := m.StartCommand("tray", c); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// An ssh that nobody sits at, an IDE's or a timer's, never opens a browser by itself: the person's tray asks.
func TestSSHWithoutATerminalAsksByTheTray(t *testing.T) {
	needsRoot(t)
	w := open(t, false)
	m := w.peers[laptop]
	env, done, err := m.Browser("ann", people["ann"])
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	// A desktop with a browser, and no terminal.
	ssh := func(n int) []result {
		t.Helper()
		results := make([]result, n)
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() {
				c := m.SSH(within(t, 3*time.Minute), "ann", "setsid", "-w", "ssh", w.target, "echo reached")
				c.Env = append(c.Env, env...)
				results[i] = finish(c)
			})
		}
		all.Wait()
		return results
	}
	refused := func(r result) bool {
		return r.code == 255 && strings.Contains(r.err, "run 'lanyard login'") && strings.Contains(r.err, "[not-logged-in]")
	}

	watch := lab.StartWatch()
	for _, r := range ssh(3) {
		if !refused(r) {
			t.Errorf("without a tray: %s", r)
		}
	}
	took := watch.Took()
	watch.Stop()
	if took > 15*time.Second || w.tabs() != 0 {
		t.Errorf("without a tray: refused after %s, browsers opened: %d", took, w.tabs())
	}

	desk := w.desktop(env)
	asked := func(n int) notice {
		t.Helper()
		if err := lab.Until(within(t, 60*time.Second), "the notification", func() error {
			if got := len(desk.asked()); got != n {
				return fmt.Errorf("%d of %d are shown", got, n)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return desk.asked()[n-1]
	}
	// The tray listens once it has found the service.
	listens := func() {
		t.Helper()
		if err := lab.Until(within(t, 60*time.Second), "the tray at the service", func() error {
			out, err := m.Output(within(t, 60*time.Second), "", "ss", "-Hxp")
			if err == nil && strings.Count(out, `"lanyard-tray"`) < 3 { // bus, events, asks
				err = fmt.Errorf("%s", out)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	listens()
	results := make(chan []result, 1)
	go func() { results <- ssh(10) }()
	note := asked(1)
	if !strings.HasPrefix(note.title, "ssh to web-1 ") || strings.Join(note.actions, " ") != "log-in Log in not-now Not now" {
		t.Errorf("%+v", note)
	}
	if n := w.tabs(); n != 0 {
		t.Errorf("%d browsers before the click", n)
	}
	desk.press(t, note, "log-in")
	for _, r := range <-results {
		if r.code != 0 || r.out != "reached\n" {
			t.Errorf("after the click: %s", r)
		}
	}
	if n, notes := w.tabs(), len(desk.asked()); n != 1 || notes != 1 {
		t.Errorf("%d browsers and %d notifications, want one of each", n, notes)
	}

	// Signed out again, a loop of a hundred makes one notification.
	if _, err := m.Lanyard(within(t, 60*time.Second), "ann", "logout"); err != nil {
		t.Fatal(err)
	}
	loop := m.SSH(within(t, 6*time.Minute), "ann", "setsid", "-w", "sh", "-c", `for i in $(seq 100); do ssh "$0" true; done; echo looped`, w.target)
	loop.Env = append(loop.Env, env...)
	out, err := loop.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := loop.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan int, 1)
	go func() {
		n := 0
		for s := bufio.NewScanner(out); s.Scan(); {
			if strings.Contains(s.Text(), "[not-logged-in]") {
				n++
			}
		}
		lines <- n
	}()
	desk.press(t, asked(2), "not-now")
	begin := time.Now()
	n := <-lines
	if err := loop.Wait(); err != nil || n != 100 {
		t.Errorf("the loop: %v, %d refusals", err, n)
	}
	if notes := len(desk.asked()); notes != 2 || w.tabs() != 1 {
		t.Errorf("the loop made %d notifications and %d browsers", notes-1, w.tabs()-1)
	}
	t.Logf("the loop was refused in %s", time.Since(begin))
}
