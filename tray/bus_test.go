//go:build linux

package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/crypto/ssh"

	"lanyard/platform/paths"
	"lanyard/platform/release"
	"lanyard/platform/sessionbus/bustest"
	"lanyard/service/ipc"
	"lanyard/service/keystore"
	"lanyard/service/login"
	"lanyard/test/calm"
	"lanyard/tray/menu"
)

func wireOf(key ed25519.PrivateKey) ([]byte, error) {
	pub, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	return pub.Marshal(), nil
}

// up is the status of an enrolled machine.
func up(change func(*ipc.Status)) ipc.Status {
	s := ipc.Status{
		Release: "test", State: ipc.StateConnected, Server: "https://127.0.0.1:1#sha256=x", Profile: "default",
		Self: &ipc.Peer{ID: self, Name: "laptop", Addr4: netip.MustParseAddr("100.110.0.9")},
		Peers: []ipc.Peer{
			{ID: "pa", Name: "web_1-is-no-name", ServesSSH: false},
			{ID: "pb", Name: "web-1", ShortName: true, ServesSSH: true, Handshake: time.Now()},
		},
		Caller: ipc.Caller{Account: "root", Class: ipc.ClassChange}, // as the fake service sees this test
	}
	if change != nil {
		change(&s)
	}
	return s
}

// TestPanelShowsEveryState drives one tray through all states and compares what the panel gets with the menu.
func TestPanelShowsEveryState(t *testing.T) {
	home := place(t)
	r := startTray(t, home)
	state := func(s *ipc.Status, absent string) menu.State {
		return menu.State{
			Now: time.Now(), Status: s, Absent: absent, Start: "sudo lanyard service install", Joining: "sudo lanyard up URL", Release: release.Version(),
			Settings: menu.Settings{Start: true, Notify: true, Visitors: true}, Profile: "default", Profiles: []string{"default"},
		}
	}
	t.Run("absent", func(t *testing.T) {
		r.is(menu.Build(state(nil, "Start the service, or ask your administrator to.")))
	})
	d := newService(t, socketHere())
	for _, c := range []struct {
		name   string
		status ipc.Status
	}{
		{"new", ipc.Status{Release: "test", State: ipc.StateNew}},
		{"removed", ipc.Status{Release: "test", State: ipc.StateRemoved, Problems: []string{"gone"}}},
		{"down", ipc.Status{Release: "test", State: ipc.StateDown, Server: "https://x"}},
		{"connecting", ipc.Status{Release: "test", State: ipc.StateConnecting}},
		{"not connected", ipc.Status{Release: "test", State: ipc.StateConnecting, Problems: []string{"no route"}}},
		{"signed out", up(nil)},
		{"offline", up(func(s *ipc.Status) { s.State = ipc.StateOffline })},
		{"no machines", up(func(s *ipc.Status) { s.Peers = nil })},
		{"many machines", up(func(s *ipc.Status) {
			for i := range 40 {
				s.Peers = append(s.Peers, ipc.Peer{ID: fmt.Sprint(i), Name: fmt.Sprintf("m-%d", i), ServesSSH: true})
			}
		})},
		{"visitor with a line under the name", up(func(s *ipc.Status) {
			s.SSH = ipc.SSH{Allowed: true, Serving: true, Admits: []string{"everyone as deploy"}}
			s.Sessions = []ipc.Session{{ID: "s1", User: "a_b@example.com", LocalUser: "deploy", Source: "desk", Since: time.Now()}}
		})},
		{"several providers", up(func(s *ipc.Status) {
			s.Issuers = []ipc.Issuer{{URL: "https://x/dex", Name: "Lanyard"}, {URL: "https://work.okta.com", Name: "Okta"}}
		})},
		{"problem", up(func(s *ipc.Status) { s.Problems = []string{"The audit log is full."} })},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := *r
			r.t = t
			d.set(c.status)
			s := c.status
			s.Caller = ipc.Caller{Account: "root", Class: ipc.ClassChange}
			r.is(menu.Build(state(&s, "")))
			if len(s.Sessions) > 0 {
				n := r.shows("    End the session of a_b@example.com")
				if raw := n.props["label"].Value(); raw != "    End the session of a__b@example.com" {
					t.Errorf("the line would mark a key: %q", raw)
				}
			}
		})
	}
	issued := time.Now()
	for _, c := range []struct {
		name string
		ends time.Time
	}{{"signed in", issued.Add(7*time.Hour + time.Minute)}, {"ends soon", issued.Add(20 * time.Minute)}} {
		t.Run(c.name, func(t *testing.T) {
			r := *r
			r.t = t
			s := up(nil)
			d.set(s)
			signInHere(t, "ann@example.com", issued, c.ends)
			want := state(&s, "")
			want.SignIn = menu.SignIn{Who: "ann@example.com", Ends: c.ends}
			r.is(menu.Build(want)) // seen by the files alone
		})
	}
	t.Run("signed out by another program", func(t *testing.T) {
		r := *r
		r.t = t
		p := paths.Find("default")
		if err := login.Forget(p, keystore.Open(p.Login, nil, nil), self); err != nil {
			t.Fatal(err)
		}
		s := up(nil)
		r.is(menu.Build(state(&s, "")))
	})
}

func TestServiceThatRestartsIsFollowedWithinTwoSeconds(t *testing.T) {
	home := place(t)
	d := newService(t, socketHere())
	d.set(up(nil))
	r := startTray(t, home)
	r.shows("Connected as laptop, signed out")
	// What else this machine does adds to the time and never takes away: of five restarts most are as promised.
	const restarts = 5
	good := 0
	for range restarts {
		d.stop()
		clock := calm.Start()
		r.shows("The Lanyard service is not running")
		end := clock.Stop()
		d.start()
		d.set(up(func(s *ipc.Status) { s.State = ipc.StateOffline }))
		clock = calm.Start()
		r.shows("Connected as laptop, signed out")
		start := clock.Stop()
		t.Logf("its end was shown after %s, its start after %s", end, start)
		if end <= 2*time.Second && start <= 2*time.Second {
			good++
		}
	}
	if good <= restarts/2 {
		t.Errorf("within two seconds it was shown %d times of %d", good, restarts)
	}
}

// TestIconComesBackWithThePanel also spoils the library's own registration, as any stray signal does.
func TestIconComesBackWithThePanel(t *testing.T) {
	home := place(t)
	r := startTray(t, home)
	stray := &dbus.Message{Type: dbus.TypeSignal, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath: dbus.MakeVariant(dbus.ObjectPath("/x")), dbus.FieldInterface: dbus.MakeVariant("org.freedesktop.Secret.Prompt"),
		dbus.FieldMember: dbus.MakeVariant("Completed"), dbus.FieldDestination: dbus.MakeVariant(r.name),
	}}
	for range 5 { // the library listens a moment after it has registered, and nothing tells when
		time.Sleep(100 * time.Millisecond)
		if call := r.conn.Send(stray, nil); call != nil && call.Err != nil {
			t.Fatal(call.Err)
		}
	}
	for range 2 {
		r.panel.conn.Close()
		until(t, time.Minute, func() error {
			var has bool
			r.conn.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, watcherName).Store(&has)
			if has {
				return errors.New("the old panel is still there")
			}
			return nil
		})
		r.panel = startPanel(t, r.addr)
		if name := r.panel.item(t); name != r.name {
			t.Errorf("the icon came back as %s, want %s", name, r.name)
		}
	}
}

func TestPanelThatComesLateGetsTheIcon(t *testing.T) {
	home := place(t)
	addr, _ := bustest.Start(t)
	r := &running{t: t, addr: addr, home: home, conn: bustest.Connect(t, addr), notes: startNotes(t, addr)}
	r.start()
	until(t, time.Minute, func() error {
		var has bool
		r.conn.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, ownName).Store(&has)
		if !has {
			return errors.New("no tray on the bus")
		}
		return nil
	})
	r.panel = startPanel(t, addr)
	r.panel.item(t)
}

func TestDesktopWithoutIconsIsSaidOnce(t *testing.T) {
	home := place(t)
	addr, _ := bustest.Start(t)
	r := &running{t: t, addr: addr, home: home, conn: bustest.Connect(t, addr), notes: startNotes(t, addr)}
	const title = "Lanyard runs without its icon"
	r.start()
	n := r.notes.titled(t, title)
	if !strings.Contains(n.body, "lanyard login") || !slices.Contains(n.actions, "Log in") || !slices.Contains(n.actions, "Open a terminal") {
		t.Errorf("%+v", n)
	}
	r.cmd.Process.Signal(syscall.SIGTERM)
	if err := r.ended(); err != nil {
		t.Fatal(err)
	}
	r.start()
	time.Sleep(panelGrace + time.Second) // the absence of a second one has no event to wait for
	if c := r.notes.count(title); c != 1 {
		t.Errorf("said %d times", c)
	}
}

func TestOneTrayPerDesktopSession(t *testing.T) {
	home := place(t)
	r := startTray(t, home)
	second := &running{t: t, addr: r.addr, home: home}
	second.start()
	if err := second.ended(); err == nil || !strings.Contains(second.out.String(), "runs already in this desktop session") {
		t.Errorf("%v: %s", err, second.out)
	}
	// Another session of the same person has its own.
	addr, _ := bustest.Start(t)
	other := &running{t: t, addr: addr, home: home, panel: startPanel(t, addr)}
	other.start()
	other.panel.item(t)
}

func TestQuitEndsTheProgram(t *testing.T) {
	home := place(t)
	r := startTray(t, home)
	r.click("Quit")
	if err := r.ended(); err != nil {
		t.Errorf("%v", err)
	}
}

func TestWithoutABusItSaysWhatToDo(t *testing.T) {
	home := place(t)
	for _, addr := range []string{"", "unix:path=/nowhere"} {
		r := &running{t: t, addr: addr, home: home}
		r.start()
		if err := r.ended(); err == nil || !strings.Contains(r.out.String(), "'lanyard login'") || strings.Contains(r.out.String(), "panic") {
			t.Errorf("%q: %v: %s", addr, err, r.out)
		}
	}
}

func TestSessionsEndEndsTheTray(t *testing.T) {
	home := place(t)
	addr, bus := bustest.Start(t)
	r := &running{t: t, addr: addr, home: home, panel: startPanel(t, addr)}
	r.start()
	r.panel.item(t)
	bus.Process.Kill()
	if err := r.ended(); err != nil || strings.Contains(r.out.String(), "panic") {
		t.Errorf("%v: %s", err, r.out)
	}
}

func TestVisitorIsToldAndCanBeSentAway(t *testing.T) {
	home := place(t)
	d := newService(t, socketHere())
	bob := ipc.Session{ID: "s2", User: "bob <b>@example.com", LocalUser: "deploy", Source: "desk", Since: time.Now()}
	d.set(up(func(s *ipc.Status) {
		s.SSH.Allowed = true
		s.Sessions = []ipc.Session{{ID: "s1", User: "early", LocalUser: "deploy"}}
	}))
	r := startTray(t, home)
	r.shows("On this computer (1)")
	d.set(up(func(s *ipc.Status) {
		s.SSH.Allowed = true
		s.Sessions = []ipc.Session{{ID: "s1", User: "early", LocalUser: "deploy"}, bob}
	}))
	n := r.notes.titled(t, "Somebody signed in to this computer")
	if r.notes.count(n.title) != 1 || n.body != "bob &lt;b&gt;@example.com came in as deploy, from desk." {
		t.Errorf("%+v", r.notes.all)
	}
	r.notes.press(t, n, string(menu.EndSession))
	ended := func(id string) func() error {
		return func() error {
			d.mu.Lock()
			defer d.mu.Unlock()
			if !slices.Contains(d.ended, id) {
				return fmt.Errorf("ended: %v", d.ended)
			}
			return nil
		}
	}
	until(t, time.Minute, ended("s2"))
	r.click("    End the session of early")
	until(t, time.Minute, ended("s1"))
}

func TestRowsDoWhatTheySay(t *testing.T) {
	home := place(t)
	d := newService(t, socketHere())
	d.set(up(nil))
	r := startTray(t, home)
	log := filepath.Join(home, "ran")
	for _, tool := range []string{"x-terminal-emulator", "xdg-terminal-exec", "xclip", "xdg-open"} {
		script := "#!/bin/sh\necho " + tool + " \"$@\" >>" + log + "\n[ " + tool + " != xclip ] || { cat >>" + log + "; echo >>" + log + "; }\n"
		if err := os.WriteFile(filepath.Join(r.tools, tool), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ran := func(want string) {
		t.Helper()
		until(t, time.Minute, func() error {
			raw, _ := os.ReadFile(log)
			if !strings.Contains(string(raw), want) {
				return fmt.Errorf("%q is not in: %s", want, raw)
			}
			return nil
		})
	}
	r.click("web-1  (online)")
	ran("lanyard openssh terminal default web-1\n")
	r.click("ssh web-1")
	ran("xclip -selection clipboard\nssh web-1\n")
	r.click("Disconnect")
	until(t, time.Minute, func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.downs != 1 {
			return fmt.Errorf("%d downs", d.downs)
		}
		return nil
	})
	r.click("Allow SSH to this computer")
	until(t, time.Minute, func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		if len(d.ups) != 1 || d.ups[0].AllowSSH == nil || !*d.ups[0].AllowSSH {
			return fmt.Errorf("%+v", d.ups)
		}
		return nil
	})
	r.click("Diagnose: copy a report")
	n := r.notes.titled(t, "Diagnosis")
	raw, err := os.ReadFile(filepath.Join(home, "state", "default", "report.txt"))
	if err != nil || !strings.Contains(string(raw), "service: The service runs") || !strings.Contains(n.body, "clipboard") {
		t.Errorf("%v %q %+v", err, raw, n)
	}
	// A disabled row's click does nothing, and a choice is kept.
	r.send(r.shows("Connected as laptop, signed out").id)
	r.click("Start when I log in to the desktop")
	until(t, time.Minute, func() error {
		if openSettings("default").get().Start {
			return errors.New("still on")
		}
		return nil
	})
	again := &running{t: t, addr: r.addr, home: home}
	again.start("--autostart")
	if err := again.ended(); err != nil || again.out.Len() > 0 {
		t.Errorf("the desktop's start: %v %s", err, again.out)
	}
}

// A row that changes its meaning under the pointer is not the one that was meant.
func TestClickOnARowThatJustChangedDoesNothing(t *testing.T) {
	b := newBar(nil)
	s := &slot{since: time.Now().Add(-time.Hour), shown: menu.Row{Title: "End a", Action: menu.Action{Verb: menu.EndSession, Arg: "a"}}}
	if a, ok := b.meant(s); !ok || a.Arg != "a" {
		t.Error("a row that stood still was not taken")
	}
	for judged := false; !judged; { // a busy machine may take too long to ask
		s.since = time.Now()
		_, ok := b.meant(s)
		if judged = time.Since(s.since) < settled; judged && ok {
			t.Error("a row that has just changed was taken")
		}
	}
}

// Panels of libdbusmenu-gtk show a row as an empty submenu that becomes one together with its first row.
func TestSubmenusAreThereFromTheStart(t *testing.T) {
	r := startTray(t, place(t))
	until(t, time.Minute, func() error {
		n, err := r.layout()
		if err != nil {
			return err
		}
		missing := []string{}
		for _, want := range []string{"Log in with", "Machines", "Copy ssh command", "On this computer", "SSH to this computer", "Settings", "About Lanyard"} {
			if !slices.ContainsFunc(n.kids, func(k node) bool {
				return k.label() == want && k.props["children-display"].Value() == "submenu" && len(k.kids) > 0
			}) {
				missing = append(missing, want)
			}
		}
		if len(missing) > 0 {
			return fmt.Errorf("no submenus yet: %q", missing)
		}
		return nil
	})
}

// Panels of libdbusmenu-gtk lose rows whose properties come with or before those of their submenu. A panel that starts
// later is met as the first one is.
func TestPanelGetsTheRowsOfASubmenuAfterTheSubmenu(t *testing.T) {
	r := startTray(t, place(t))
	r.shows("Settings")
	for _, name := range []string{"one panel", "the one after it"} {
		conn := bustest.Connect(t, r.addr)
		o := conn.Object(r.name, itemPath+"/menu")
		get := func() node {
			t.Helper()
			var rev uint32
			var raw []any
			if err := o.Call("com.canonical.dbusmenu.GetLayout", 0, int32(0), int32(-1), []string{}).Store(&rev, &raw); err != nil {
				t.Fatal(err)
			}
			return toNode(raw)
		}
		var submenus []int32
		for range 3 { // a menu that changes makes it ask again before it has the properties
			submenus = nil
			for _, k := range get().kids {
				if len(k.kids) > 0 {
					t.Fatalf("%s got the rows of %q before its properties", name, k.label())
				}
				if k.props["children-display"].Value() == "submenu" {
					submenus = append(submenus, k.id)
				}
			}
		}
		if len(submenus) < 5 {
			t.Fatalf("%s sees %d submenus", name, len(submenus))
		}
		if err := conn.AddMatchSignal(dbus.WithMatchInterface("com.canonical.dbusmenu"), dbus.WithMatchMember("LayoutUpdated")); err != nil {
			t.Fatal(err)
		}
		told := make(chan *dbus.Signal, 16)
		conn.Signal(told)
		if err := o.Call("com.canonical.dbusmenu.GetGroupProperties", 0, submenus[1:], []string{}).Err; err != nil {
			t.Fatal(err)
		}
		select {
		case <-told:
		case <-time.After(time.Minute):
			t.Fatalf("%s is not told that there is more", name)
		}
		until(t, time.Minute, func() error {
			for _, k := range get().kids {
				if has, want := len(k.kids) > 0, slices.Contains(submenus[1:], k.id); has != want {
					return fmt.Errorf("%s gets rows of %q: %t, want %t", name, k.label(), has, want)
				}
			}
			return nil
		})
	}
}

// A program that reads the properties of the layout alone gets all of it soon.
func TestPanelThatAsksForNoPropertiesSeesTheSubmenus(t *testing.T) {
	r := startTray(t, place(t))
	o := bustest.Connect(t, r.addr).Object(r.name, itemPath+"/menu")
	until(t, time.Minute, func() error {
		var rev uint32
		var raw []any
		if err := o.Call("com.canonical.dbusmenu.GetLayout", 0, int32(0), int32(-1), []string{}).Store(&rev, &raw); err != nil {
			return err
		}
		if toNode(raw).find("Notifications") == nil {
			return errors.New("no rows in Settings")
		}
		return nil
	})
}
