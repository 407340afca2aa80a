//go:build linux

package desktop

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"lanyard/test/lab"
)

const (
	screenW, screenH = 1024, 768
	panelH           = 34 // of xfce4-panel at size 30, with its edge
	display          = ":79"
)

// desktop is a person's session on a machine: an X server, a window manager, a panel with the notification area, a
// keyring, notifications and, once somebody logs in, Chromium.
type desktop struct {
	screen
	peer    *lab.Peer
	account string
	run     string // XDG_RUNTIME_DIR
	bus     *dbus.Conn
	panel   *lab.Process
}

func (d *desktop) home(name string) string { return filepath.Join(d.peer.Home(d.account), name) }

// command prepares a program in the session.
func (d *desktop) command(argv ...string) *exec.Cmd {
	c := d.peer.Command(context.Background(), d.account, argv...)
	c.Env = append(c.Env,
		"DISPLAY="+display, "XDG_RUNTIME_DIR="+d.run, "DBUS_SESSION_BUS_ADDRESS=unix:path="+d.run+"/bus", "GDK_BACKEND=x11", "NO_AT_BRIDGE=1",
		"XDG_CONFIG_HOME="+d.home(".config"), "BROWSER="+d.home("browse"), "LIBGL_ALWAYS_SOFTWARE=1")
	return c
}

// start starts a program of the session that goes on.
func (d *desktop) start(name string, argv ...string) *lab.Process {
	d.t.Helper()
	p, err := d.peer.StartCommand(name, d.command(argv...))
	must(d.t, err)
	return p
}

// write puts a file into the person's home.
func (d *desktop) write(name string, mode os.FileMode, text string) {
	d.t.Helper()
	must(d.t, d.peer.Write(d.home(name), d.account, mode, []byte(text)))
}

// openDesktop starts the session.
func openDesktop(t *testing.T, peer *lab.Peer, account, ca string) *desktop {
	t.Helper()
	d := &desktop{peer: peer, account: account, run: "/run/desk"}
	d.screen = openScreen(t, "", image.Rect(0, 0, 120, panelH), image.Rect(0, panelH, screenW, screenH), d.command) // the notification area stands at the panel's left end
	must(t, peer.Run(t.Context(), "", "install", "-d", "-o", account, "-m", "0700", d.run))
	must(t, peer.Run(t.Context(), "", "install", "-d", "-m", "1777", "/tmp/.X11-unix"))
	for _, dir := range []string{".config/xfce4/xfconf/xfce-perchannel-xml", ".config/dunst", ".pki/nssdb", ".local/share"} {
		must(t, peer.Run(t.Context(), account, "mkdir", "-p", d.home(dir)))
	}
	layout, err := os.ReadFile("testdata/xfce4-panel.xml")
	must(t, err)
	d.write(".config/xfce4/xfconf/xfce-perchannel-xml/xfce4-panel.xml", 0o644, string(layout))
	d.write(".config/dunst/dunstrc", 0o644, "[global]\nfont = DejaVu Sans 10\norigin = bottom-right\nwidth = 420\nheight = 200\n"+
		"frame_width = 0\nmouse_left_click = do_action, close_current\n"+ // the only button of a notification
		"[urgency_normal]\nbackground = \"#ffffff\"\nforeground = \"#000000\"\ntimeout = 30\n")
	// xterm, which the terminal here is by whatever name, also writes down what it shows.
	d.write(".Xdefaults", 0o644, "*logFile: "+d.home("terminal.log")+"\n*logging: true\n")
	// As an administrator would make the browsers of this network trust the server's own CA.
	d.write("browse", 0o755, "#!/bin/sh\necho \"$1\" >>"+d.home("tabs")+"\n"+
		"exec chromium --user-data-dir="+d.home("chromium")+" --remote-debugging-port=9222 --no-sandbox --no-first-run --no-default-browser-check"+
		" --disable-gpu --disable-dev-shm-usage --disable-quic --disable-background-networking --disable-component-update --disable-sync"+
		" --test-type --password-store=basic --window-size=800,600 --window-position=180,60 \"$1\"\n")
	must(t, peer.Run(t.Context(), account, "mkdir", "-p", d.home("chromium/Default")))
	d.write("chromium/Default/Preferences", 0o600, `{"credentials_enable_service":false}`) // no dialog over the page
	_, err = d.output("certutil", "-d", "sql:"+d.home(".pki/nssdb"), "-N", "--empty-password")
	must(t, err)
	_, err = d.output("certutil", "-d", "sql:"+d.home(".pki/nssdb"), "-A", "-t", "C,,", "-n", "lanyard", "-i", ca)
	must(t, err)

	d.start("xvfb", "Xvfb", display, "-screen", "0", fmt.Sprintf("%dx%dx24", screenW, screenH), "-nolisten", "tcp")
	d.until(45*time.Second, "the X server", func() error { _, err := d.output("xdpyinfo"); return err })
	d.write("bus.conf", 0o644, `<busconfig><type>session</type><listen>unix:path=`+d.run+`/bus</listen><auth>EXTERNAL</auth><standard_session_servicedirs/>`+
		`<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/></policy></busconfig>`)
	d.start("dbus", "dbus-daemon", "--nofork", "--config-file="+d.home("bus.conf")) // this test, as root, looks on
	d.until(30*time.Second, "the session bus", func() (err error) {
		d.bus, err = dbus.Connect("unix:path=" + peer.Path(d.run+"/bus"))
		return err
	})
	t.Cleanup(func() { d.bus.Close() })
	unlock := d.command("gnome-keyring-daemon", "--unlock", "--components=secrets", "--foreground")
	unlock.Stdin = strings.NewReader("the keyring's password")
	_, err = peer.StartCommand("keyring", unlock)
	must(t, err)
	d.until(30*time.Second, "the keyring", func() error { return d.owned("org.freedesktop.secrets") })
	d.startWindowManager()
	_, err = d.output("xsetroot", "-solid", "#3b5368")
	must(t, err)
	d.start("dunst", "dunst", "-conf", d.home(".config/dunst/dunstrc"))
	d.startPanel()
	return d
}

// startWindowManager waits until windows are managed: one that opens before lies over the panel.
func (d *desktop) startWindowManager() {
	d.t.Helper()
	wm := d.start("wm", "xfwm4", "--compositor=off")
	d.until(90*time.Second, "the window manager", func() error {
		select {
		case <-wm.Done(): // it gives up when another program of the session was slow
			said := wm.Text()
			wm = d.start("wm", "xfwm4", "--compositor=off")
			return fmt.Errorf("it ended: %s", said)
		default:
		}
		out, err := d.output("xprop", "-root", "_NET_SUPPORTING_WM_CHECK")
		if err == nil && !strings.Contains(out, "window id") {
			err = fmt.Errorf("xprop says %q", out)
		}
		return err
	})
}

func (d *desktop) startPanel() {
	d.t.Helper()
	d.panel = d.start(fmt.Sprintf("panel-%d", time.Now().UnixNano()), "xfce4-panel", "--disable-wm-check")
	d.until(45*time.Second, "the panel's notification area", func() error { return d.owned("org.kde.StatusNotifierWatcher") })
}

func (d *desktop) owned(name string) error {
	var has bool
	if err := d.bus.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, name).Store(&has); err != nil {
		return err
	}
	if !has {
		return fmt.Errorf("nobody owns %s", name)
	}
	return nil
}

// terminalSays is what was shown in the terminal; nothing before xterm has begun to write it down.
func (d *desktop) terminalSays() string {
	d.t.Helper()
	said, err := os.ReadFile(d.peer.Path(d.home("terminal.log")))
	if !errors.Is(err, fs.ErrNotExist) {
		must(d.t, err)
	}
	return string(said)
}

// row of the menu, as the panel was told.
type row struct {
	id                         int32
	title                      string
	hidden, disabled, sep, sub bool
	rows                       []row
}

// menu asks the tray for its rows, as the panel does.
func (d *desktop) menu() ([]row, error) {
	var names []string
	if err := d.bus.BusObject().Call("org.freedesktop.DBus.ListNames", 0).Store(&names); err != nil {
		return nil, err
	}
	for _, n := range names {
		if !strings.HasPrefix(n, "org.kde.StatusNotifierItem-") {
			continue
		}
		var rev uint32
		var raw []any
		if err := d.bus.Object(n, "/StatusNotifierItem/menu").Call("com.canonical.dbusmenu.GetLayout", 0, int32(0), int32(-1), []string{}).Store(&rev, &raw); err != nil {
			return nil, err
		}
		return toRow(raw).rows, nil
	}
	return nil, fmt.Errorf("no tray on the bus")
}

func toRow(raw []any) row {
	props := raw[1].(map[string]dbus.Variant)
	is := func(name string, v any) bool { p, ok := props[name]; return ok && p.Value() == v }
	r := row{id: raw[0].(int32), hidden: is("visible", false), disabled: is("enabled", false), sep: is("type", "separator"), sub: is("children-display", "submenu")}
	if p, ok := props["label"]; ok {
		r.title = strings.ReplaceAll(p.Value().(string), "__", "_")
	}
	for _, v := range raw[2].([]dbus.Variant) {
		r.rows = append(r.rows, toRow(v.Value().([]any)))
	}
	return r
}

// titles of the visible rows.
func titles(rows []row) (all []string) {
	for _, r := range rows {
		if !r.hidden && !r.sep {
			all = append(append(all, r.title), titles(r.rows)...)
		}
	}
	return all
}

// says waits until the menu has a row.
func (d *desktop) says(title string, limit time.Duration) {
	d.t.Helper()
	d.until(limit, "the row "+title, func() error {
		rows, err := d.menu()
		if err != nil {
			return err
		}
		for _, s := range titles(rows) {
			if s == title {
				return nil
			}
		}
		return fmt.Errorf("the menu has:\n%s", strings.Join(titles(rows), "\n"))
	})
}

// choose opens the menu by a click on the badge and picks a row by its way: the title of the submenu, that of the row
// in it. state is what the badge shows; with a name the open menu is kept as a picture.
func (d *desktop) choose(state, picture string, way ...string) (img image.Image) {
	d.t.Helper()
	at := d.seesIcon(state, 30*time.Second)
	before, err := d.look()
	must(d.t, err)
	d.click(at)
	d.drawn(before)
	time.Sleep(700 * time.Millisecond) // until it takes keys: nothing tells
	rows, err := d.menu()
	must(d.t, err)
	var keys []string
	for i, title := range way {
		if i > 0 {
			keys = append(keys, "Right") // opens the submenu with its first row chosen
		}
		steps, found := 0, false
		for _, r := range rows {
			if r.hidden || r.sep || r.disabled {
				continue
			}
			steps++
			if found = r.title == title; found {
				rows = r.rows
				break
			}
		}
		if !found {
			d.shot("failed")
			d.t.Fatalf("no row %q to choose among:\n%s", title, strings.Join(titles(rows), "\n"))
		}
		if i > 0 {
			steps--
		}
		for range steps {
			keys = append(keys, "Down")
		}
	}
	for _, k := range keys {
		_, err := d.output("xdotool", "key", k, "sleep", "0.1")
		must(d.t, err)
	}
	if picture != "" {
		time.Sleep(300 * time.Millisecond) // until it is drawn
		img = d.shot(picture)
	}
	_, err = d.output("xdotool", "key", "Return")
	must(d.t, err)
	return img
}

// drawn waits until something as large as a menu has come to the screen since before, and changes no more.
func (d *desktop) drawn(before image.Image) {
	d.t.Helper()
	var last image.Image
	d.until(time.Minute, "the menu", func() error {
		now, err := d.look()
		if err != nil {
			return err
		}
		box := differs(before, now, d.desk)
		if last != nil && box.Dx() >= 100 && box.Dy() >= 100 && differs(last, now, d.desk).Empty() {
			return nil
		}
		last = now
		return fmt.Errorf("what is new is %s", box)
	})
}

// pick opens the menu by a click on the badge and clicks rows that it reads on the screen, by their way. state is what
// the badge shows; with a name the menu is kept as a picture before its last row is clicked.
func (d *desktop) pick(state, picture string, way ...string) (img image.Image) {
	d.t.Helper()
	at := d.seesIcon(state, 30*time.Second)
	before, err := d.look()
	must(d.t, err)
	d.click(at)
	for i, title := range way {
		name := ""
		if i == len(way)-1 {
			name = picture
		}
		img = d.points(before, name, title)
	}
	return img
}
