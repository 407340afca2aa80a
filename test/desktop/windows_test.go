//go:build linux

package desktop

import (
	"context"
	"errors"
	"fmt"
	"image"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
	"lanyard/test/wine"
)

// windows is a person's desktop on a pretended Windows machine. Its parts are Wine's: the task bar with the
// notification area, balloons, menus, the credential store.
type windows struct {
	screen
	m       *wine.Machine
	peer    *lab.Peer // Linux programs run beside its
	display string
	browser string // a Linux one, that signs in
	opened  string // file with the addresses that browsers were started with
}

const (
	program    = `C:\Lanyard\lanyard.exe`
	tray       = `C:\Lanyard\lanyard-tray.exe`
	taskBar    = 20 // pixels, at the screen's lower edge
	winMachine = "desk-7"
)

// do runs a Windows program to its end.
func (w *windows) do(argv ...string) string {
	w.t.Helper()
	out, err := w.m.Run(within(w.t, 3*time.Minute), argv[0], argv[1:]...)
	must(w.t, err)
	return out
}

// start starts a Windows program on the desktop, with what else it needs in front.
func (w *windows) start(name string, argv ...string) *lab.Process {
	w.t.Helper()
	c := w.m.Command(context.Background(), argv[0], argv[1:]...)
	c.Env = append(c.Env, "DISPLAY="+w.display)
	p, err := w.peer.StartCommand(name, c)
	must(w.t, err)
	return p
}

// openWindows boots the machine and shows its desktop. The programs of a browser are one that writes its address down.
func openWindows(t *testing.T, peer *lab.Peer, browser string) *windows {
	t.Helper()
	m, err := wine.Open(within(t, 9*time.Minute), filepath.Join("..", "..", ".build"))
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(m.Path(`C:\ProgramData\Lanyard\default\service.log`))
			t.Logf("the Windows service's log:\n%s", log)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &windows{m: m, peer: peer, browser: browser, opened: filepath.Join(m.Dir, "opened")}
	x, err := peer.Start("windows-x", "", "Xvfb", "-displayfd", "1", "-screen", "0", fmt.Sprintf("%dx%dx24", screenW, screenH), "-nolisten", "tcp")
	must(t, err)
	number, err := x.Match(within(t, 60*time.Second), regexp.MustCompile(`(?m)^(\d+)$`))
	must(t, err)
	w.display = ":" + number[1]
	w.screen = openScreen(t, "windows-", image.Rect(screenW-200, screenH-taskBar, screenW, screenH), image.Rect(0, 0, screenW, screenH-taskBar), func(argv ...string) *exec.Cmd {
		c := peer.Command(context.Background(), "", argv...)
		c.Env = append(c.Env, "DISPLAY="+w.display)
		return c
	})
	opener := filepath.Join(m.Dir, "browser")
	must(t, os.WriteFile(opener, []byte("#!/bin/sh\necho \"$1\" >>"+w.opened+"\n"), 0o755))
	w.do("reg", "add", `HKCU\Software\Wine\WineBrowser`, "/v", "Browsers", "/d", opener, "/f")
	w.start("windows-desktop", "explorer", fmt.Sprintf("/desktop=shell,%dx%d", screenW, screenH))
	w.until(60*time.Second, "the task bar", func() error {
		lines, err := w.read(image.Rect(0, screenH-taskBar, 100, screenH))
		if _, ok := where(lines, "Start"); err == nil && !ok {
			err = fmt.Errorf("it says %q", text(lines))
		}
		return err
	})
	return w
}

// menu opens the menu by a click on the badge, reads it and keeps its picture; state is what the badge shows.
func (w *windows) menu(state, picture string, wanted ...string) [][]word {
	w.t.Helper()
	var lines [][]word
	w.click(w.seesIcon(state, 90*time.Second))
	w.until(90*time.Second, "the menu to say "+strings.Join(wanted, ", "), func() (err error) {
		if lines, err = w.read(w.desk); err != nil {
			return err
		}
		for _, row := range wanted {
			if _, ok := where(lines, row); !ok {
				// Rows do not change while the menu is open, or are not drawn so.
				w.away()
				w.click(w.seesIcon(state, 15*time.Second))
				return fmt.Errorf("no row %q; the screen says:\n%s", row, text(lines))
			}
		}
		return nil
	})
	if picture != "" {
		w.shot(picture)
	}
	return lines
}

// away clicks on the bare desktop, which closes a menu.
func (w *windows) away() {
	w.t.Helper()
	w.click(image.Pt(200, 200))
}

// choose clicks the row of an open menu.
func (w *windows) choose(lines [][]word, row string) {
	w.t.Helper()
	at, ok := where(lines, row)
	if !ok {
		w.t.Fatalf("no row %q in:\n%s", row, text(lines))
	}
	w.click(at)
}

// signIn does what ann would do in the browser, and returns what its pages said.
func (w *windows) signIn(page string) string {
	w.t.Helper()
	env, done, err := w.peer.Browser("", ann)
	must(w.t, err)
	defer done()
	c := w.peer.Command(within(w.t, 90*time.Second), "", w.browser, page)
	c.Env = append(append(c.Env, env...), "DEMO_LOG=") // to its standard error
	out, err := c.CombinedOutput()
	if err != nil {
		w.t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

func TestTrayOnWindows(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: Wine and the X server are installed by a run as root")
	}
	ctx := within(t, 12*time.Minute)
	l, err := lab.Open(ctx, lab.Options{
		Bin: filepath.Join("..", "..", ".build", "bin"), Machines: []string{"office", "laptop"}, User: true,
	})
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(l.Logs(40))
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	mgmt, err := l.StartMgmt(ctx, "office")
	must(t, err)
	must(t, mgmt.AddUser(ctx, ann.Email, "Ann", ann.Password))
	must(t, mgmt.AddPolicy(ctx, "windows", "user:"+ann.Email, "tag:windows", lab.Me()))
	laptop, err := mgmt.Enrol(ctx, "laptop", lab.Joining{Tags: []string{"tag:laptop"}})
	must(t, err)
	key, err := mgmt.SetupKey(ctx, "tag:windows")
	must(t, err)

	w := openWindows(t, laptop, l.Program("browser"))
	for name, folder := range map[string]string{program: "service", tray: "tray"} {
		flags := []string{}
		if name == tray {
			flags = []string{"-H=windowsgui"} // as it is shipped
		}
		file, err := wine.Program(ctx, filepath.Join("..", "..", ".build"), filepath.Base(strings.ReplaceAll(name, `\`, "/")), folder, "dev", flags...)
		must(t, err)
		must(t, w.m.Put(file, name))
	}

	// Without a service it says what to do.
	w.start("windows-tray", "person.exe", "explorer", fmt.Sprintf("/desktop=shell,%dx%d", screenW, screenH), tray)
	w.menu("error", "no-service", "The Lanyard service is not running", "Copy the command: lanyard service install", "Quit")
	w.away()
	w.do(program, "service", "install")
	up := w.m.Command(ctx, program, "up", mgmt.Join, "--name", winMachine, "--allow-ssh", "--setup-key-file", "-")
	up.Stdin = strings.NewReader(key + "\r\n")
	if out, err := up.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.until(60*time.Second, "one tray", func() error {
		if n := w.running(tray); n != 1 {
			return fmt.Errorf("%d trays run", n)
		}
		return nil
	})
	lines := w.menu("dark", "signed-out", "Connected as "+winMachine+", signed out", "Nobody is signed in", "Log in", "On this computer", "Quit")

	// Log in: the system's own way to a browser is asked for the provider's page.
	w.choose(lines, "Log in")
	var page *url.URL
	w.until(90*time.Second, "a browser", func() error {
		raw, err := os.ReadFile(w.opened)
		if err == nil && !strings.HasSuffix(string(raw), "\n") { // it is being written
			err = errors.New("no address so far")
		}
		if err == nil {
			page, err = url.Parse(strings.TrimSpace(string(raw)))
		}
		return err
	})
	if !strings.HasPrefix(page.String(), mgmt.URL+"/") {
		t.Errorf("the browser was opened at %s", page)
	}
	w.reads("Sign in in your browser") // the balloon
	w.shot("log-in")
	var balloon, menu string // from where the code stands
	w.until(90*time.Second, "the balloon's code", func() error {
		lines, err := w.read(w.desk)
		if err != nil {
			return err
		}
		var ok bool
		if balloon, ok = after(text(lines), "show the code"); !ok {
			return fmt.Errorf("the screen says:\n%s", text(lines))
		}
		return nil
	})
	menu, _ = after(text(w.menu("dark", "asking", "Waiting for your sign-in in the browser")), "page must show")
	w.away()
	pages := w.signIn(page.String())
	for _, want := range []string{winMachine, "You are signed in; you can close this tab."} {
		if !strings.Contains(pages, want) {
			t.Errorf("the pages did not say %q:\n%s", want, pages)
		}
	}
	code := regexp.MustCompile(`\b[A-Z]{4}-[A-Z]{4}\b`).FindString(pages)
	for who, said := range map[string]string{"the balloon": balloon, "the menu": menu} {
		if code == "" || !beginsLike(said, alike(code)) {
			t.Errorf("%s shows the code %q, the page %q", who, said, code)
		}
	}
	w.seesIcon("connected", 90*time.Second)
	w.reads("You are signed in")
	w.shot("signed-in")
	w.menu("connected", "connected", "Connected as "+winMachine, "Signed in as "+ann.Email+", 23 h left", "Log out", "On this computer")
	w.away()

	// What keeps ann signed in is sealed with a key that the credential store holds.
	const home = `C:\users\` // of everybody
	files := func(pattern string) []string {
		found, err := filepath.Glob(filepath.Join(w.m.Path(home), w.m.User, filepath.FromSlash(pattern)))
		must(t, err)
		return found
	}
	stored := func() string {
		entries, err := w.m.Registry(within(t, 3*time.Minute), `HKCU\Software\Wine\Credential Manager`) // where Wine's store lies
		must(t, err)
		return entries
	}
	sealed := files("AppData/Local/Lanyard/default/secret-p*")
	if len(sealed) != 1 {
		t.Fatalf("sealed files: %q", sealed)
	}
	if raw, err := os.ReadFile(sealed[0]); err != nil || !strings.Contains(string(raw), `"key":"keychain"`) {
		t.Errorf("the refresh token is not sealed by the credential store's key: %v %.100s", err, raw)
	}
	if s := stored(); !strings.Contains(s, `Generic: Lanyard:login-`) || len(files("AppData/Local/Lanyard/default/secret-key")) > 0 {
		t.Errorf("the credential store has no key of ours:\n%s", s)
	}

	// Somebody comes in by SSH: a balloon says so, and the menu sends them away.
	must(t, laptop.Knows(ctx, winMachine))
	out, err := laptop.Login(ctx, "", ann)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c := laptop.SSH(context.Background(), "", "ssh", lab.Me()+"@"+winMachine+".lanyard.internal")
	_, err = c.StdinPipe() // it stays open
	must(t, err)
	visit, err := laptop.StartCommand("visit", c)
	must(t, err)
	says := w.reads("Somebody signed in to this computer")
	w.shot("visitor")
	if said := alike(says); !strings.Contains(said, alike(ann.Email+" came in as "+lab.Me()+", from laptop")) || !strings.Contains(said, alike("click the badge, then On this computer")) {
		t.Errorf("the balloon says:\n%s", says)
	}
	w.choose(w.menu("connected", "", "On this computer (1)"), "On this computer (1)")
	end := "End the session of " + ann.Email
	w.until(90*time.Second, "the row "+end, func() error {
		lines, err = w.read(w.desk)
		if _, ok := where(lines, end); err == nil && !ok {
			err = fmt.Errorf("the screen says:\n%s", text(lines))
		}
		return err
	})
	w.shot("end-session")
	w.choose(lines, end)
	select {
	case <-visit.Done():
	case <-time.After(90 * time.Second):
		t.Errorf("the session goes on:\n%s", visit.Text())
	}
	w.away()

	w.choose(w.menu("connected", "", "Log out"), "Log out")
	w.menu("dark", "logged-out", "Connected as "+winMachine+", signed out", "Nobody is signed in", "Log in")
	if s := stored(); strings.Contains(s, "Lanyard") {
		t.Errorf("the credential store keeps:\n%s", s)
	}
	if left := append(files(".ssh/lanyard-*"), files("AppData/Local/Lanyard/default/secret-*")...); len(left) > 0 {
		t.Errorf("files stayed: %q", left)
	}
	w.away()
	w.choose(w.menu("dark", "", "Quit"), "Quit")
	w.until(60*time.Second, "the tray's end", func() error {
		if n := w.running(tray); n > 0 {
			return fmt.Errorf("%d still run", n)
		}
		return nil
	})
	w.until(60*time.Second, "the icon to go", func() error {
		img, err := w.look()
		if _, ok := w.icon(img, "dark"); err == nil && ok {
			err = errors.New("it is still there")
		}
		return err
	})
}

// running counts the processes of a Windows program on the machine.
func (w *windows) running(program string) (n int) {
	w.t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	must(w.t, err)
	for _, p := range all {
		line, err := os.ReadFile(filepath.Join(p, "cmdline"))
		if name, _, _ := strings.Cut(string(line), "\x00"); err != nil || name != program {
			continue
		}
		if env, err := os.ReadFile(filepath.Join(p, "environ")); err == nil && strings.Contains(string(env), "WINEPREFIX="+w.m.Dir+"\x00") {
			n++
		}
	}
	return n
}
