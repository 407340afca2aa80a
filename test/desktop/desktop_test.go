//go:build linux

// Package desktop tests the tray as a person meets it: on a real panel with a real mouse, a real browser, a real
// keyring. Pictures of every step are kept in .build/desktop.
package desktop

import (
	"errors"
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
)

func TestMain(m *testing.M) {
	if who := os.Getenv(hand); who != "" {
		if err := handMain(who); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	lab.Main()
	os.Exit(m.Run())
}

var ann = lab.Person{Email: "ann@example.com", Password: "ann has a long password"}

func TestADayWithTheTray(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: network and mount namespaces")
	}
	ctx := within(t, 12*time.Minute)
	self, err := os.Executable()
	must(t, err)
	l, err := lab.Open(ctx, lab.Options{
		Bin: filepath.Join("..", "..", ".build", "bin"), Self: self, Machines: []string{"office", "laptop", "web-1"}, Accounts: []string{"ann", "deploy"},
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
	must(t, mgmt.AddPolicy(ctx, "web", "user:"+ann.Email, "tag:web", "deploy"))
	must(t, mgmt.AddPolicy(ctx, "home", "user:"+ann.Email, "tag:laptop", "ann"))
	web, err := mgmt.Enrol(ctx, "web-1", lab.Joining{Tags: []string{"tag:web"}, SSH: true})
	must(t, err)
	laptop, err := mgmt.Enrol(ctx, "laptop", lab.Joining{Tags: []string{"tag:laptop"}, SSH: true})
	must(t, err)
	must(t, web.Serves(ctx))
	must(t, laptop.Knows(ctx, "web-1"))
	name, err := laptop.SSHName(ctx, "web-1")
	must(t, err)

	d := openDesktop(t, laptop, "ann", mgmt.CA())
	ssh := func() (string, error) {
		out, err := laptop.SSH(within(t, 90*time.Second), "ann", "setsid", "-w", "ssh", name, // without a terminal: nothing to log in at
			"echo reached as $USER").CombinedOutput()
		return string(out), err
	}

	t.Run("signed out, ssh says what to do", func(t *testing.T) {
		out, err := ssh()
		if err == nil || !strings.Contains(out, "run 'lanyard login'") {
			t.Errorf("%v: %s", err, out)
		}
	})
	tray := d.start("tray", l.Program("lanyard-tray"))
	d.says("Connected as laptop, signed out", 60*time.Second)
	// Where there is a tray, an ssh that nobody sits at asks there, and goes on after the log-in below.
	waits := d.start("waiting-ssh", "setsid", "-w", "ssh", name, "echo reached as $USER")
	d.until(90*time.Second, "the notification", func() error {
		shown, err := d.output("dunstctl", "history")
		if err == nil && !strings.Contains(waits.Text(), "waiting for you to sign in") {
			err = fmt.Errorf("the waiting ssh said %q; shown: %s", waits.Text(), shown)
		}
		return err
	})
	d.shot("ssh-asks")

	// Log in, by clicks.
	d.choose("dark", "signed-out-menu", "Log in")
	d.says("Waiting for your sign-in in the browser", 60*time.Second)
	code := ""
	d.until(60*time.Second, "the code", func() error {
		rows, err := d.menu()
		if err != nil {
			return err
		}
		for _, s := range titles(rows) {
			if _, after, ok := strings.Cut(s, "(the page must show "); ok {
				code = strings.TrimSuffix(after, ")")
				return nil
			}
		}
		return fmt.Errorf("no code in %q", titles(rows))
	})
	d.until(90*time.Second, "the browser's window", func() error {
		_, err := d.output("xdotool", "search", "--onlyvisible", "--name", "Lanyard")
		return err
	})
	time.Sleep(time.Second) // for the picture alone
	d.shot("browser")
	c := d.command(l.Program("self"))
	c.Env = append(c.Env, hand+"="+ann.Email+"\n"+ann.Password)
	out, err := c.CombinedOutput()
	d.shot("browser-done")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	pages := string(out)
	for _, want := range []string{code, "laptop", "You are signed in; you can close this tab."} {
		if !strings.Contains(pages, want) {
			t.Errorf("the pages did not say %q:\n%s", want, pages)
		}
	}
	d.seesIcon("connected", 60*time.Second)
	d.says("Signed in as ann@example.com, 23 h left", 60*time.Second)
	d.shot("connected")

	if tabs, err := os.ReadFile(laptop.Path(d.home("tabs"))); err != nil || strings.Count(string(tabs), "\n") != 1 {
		t.Errorf("tabs opened: %q %v", tabs, err)
	}
	key, err := d.output("secret-tool", "search", "--all", "service", "Lanyard")
	if err != nil || !strings.Contains(key, "secret = ") {
		t.Errorf("the keyring has no key: %v %s", err, key)
	}
	sealed, err := filepath.Glob(laptop.Path(d.home(".local/state/lanyard/default/secret-*")))
	if err != nil || len(sealed) != 1 {
		t.Fatalf("sealed files: %v %v", sealed, err)
	}
	if raw, err := os.ReadFile(sealed[0]); err != nil || !strings.Contains(string(raw), `"key":"keychain"`) {
		t.Errorf("the refresh token is not sealed by the keychain's key: %v %.100s", err, raw)
	}
	select {
	case <-waits.Done():
		if waits.Err() != nil || !strings.Contains(waits.Text(), "reached as deploy") {
			t.Errorf("the ssh that waited: %v: %s", waits.Err(), waits.Text())
		}
	case <-time.After(90 * time.Second):
		t.Errorf("the ssh that waited still does: %s", waits.Text())
	}
	if out, err := ssh(); err != nil || !strings.Contains(out, "reached as deploy") {
		t.Errorf("plain ssh: %v: %s", err, out)
	}

	_, err = d.output("xdotool", "search", "--onlyvisible", "--name", "Lanyard", "windowclose") // "you can close this tab"
	must(t, err)

	// A machine of the menu opens a terminal in which ssh runs.
	save(t, d.pick("connected", "machines", "Machines", machineRow(t, d, name)), image.Rect(0, 0, 600, 345))
	d.until(90*time.Second, "the terminal's session on web-1", func() error {
		s, err := web.Status(ctx)
		if err != nil {
			return err
		}
		if len(s.Sessions) != 1 || s.Sessions[0].User != ann.Email {
			return fmt.Errorf("sessions: %+v", s.Sessions)
		}
		return nil
	})
	time.Sleep(time.Second) // for the picture alone
	d.shot("terminal")

	t.Run("a command is copied", func(t *testing.T) {
		d.pick("connected", "copy", "Copy ssh command", "ssh "+name)
		d.until(60*time.Second, "the clipboard", func() error {
			got, err := d.output("xclip", "-selection", "clipboard", "-o")
			if err == nil && got != "ssh "+name {
				err = fmt.Errorf("it holds %q", got)
			}
			return err
		})
	})
	t.Run("a visitor is seen and sent away", func(t *testing.T) {
		if out, err := web.Login(ctx, "ann", ann); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		back, err := web.SSHName(ctx, "laptop")
		must(t, err)
		_, err = d.output("dunstctl", "close-all")
		must(t, err)
		notes := image.Rect(screenW/2, screenH/2, screenW, screenH)
		var before image.Image
		for _, by := range []string{"the menu", "the notification's button"} {
			d.until(60*time.Second, "the notifications to go", func() error {
				if before, err = d.look(); err == nil && !plain(before, notes) {
					err = errors.New("they are still there")
				}
				return err
			})
			visit, err := web.StartCommand("visit-by-"+by[:8], web.SSH(ctx, "ann", "ssh", back, "sleep 600"))
			must(t, err)
			if by == "the menu" {
				d.appears(before, "Somebody signed in to this computer")
				d.pick("connected", "visitor", "On this computer (1)", "End the session of "+ann.Email)
			} else {
				d.points(before, "visitor-again", "Somebody signed in to this computer")
			}
			select {
			case <-visit.Done():
				if !strings.Contains(visit.Text(), "[ended-by-owner]") {
					t.Errorf("%s: ssh said:\n%s", by, visit.Text())
				}
			case <-time.After(90 * time.Second):
				d.shot("failed")
				t.Fatalf("%s did not end the session:\n%s", by, visit.Text())
			}
			_, err = d.output("dunstctl", "close-all")
			must(t, err)
			d.says("On this computer", 60*time.Second)
		}
	})
	t.Run("the panel starts again", func(t *testing.T) {
		d.panel.Kill()
		d.until(60*time.Second, "the panel's end", func() error {
			if d.owned("org.kde.StatusNotifierWatcher") == nil {
				return fmt.Errorf("it is still there")
			}
			return nil
		})
		d.startPanel()
		d.pick("connected", "panel-again", "Copy ssh command", "ssh "+name) // the submenus, too
	})
	t.Run("the service starts again", func(t *testing.T) {
		const most = 2 * time.Second
		says := func(title string) time.Duration {
			watch := lab.StartWatch()
			defer watch.Stop()
			d.says(title, 90*time.Second)
			return watch.Took()
		}
		end, start := time.Hour, time.Hour
		for try := 0; try < 3 && (end > most || start > most); try++ { // what else this machine does only adds to it
			laptop.Daemon.Kill()
			end = says("The Lanyard service is not running")
			d.seesIcon("error", 60*time.Second)
			d.shot("no-service")
			must(t, laptop.StartDaemon(ctx))
			d.until(2*time.Minute, "the service to be connected", func() error {
				s, err := laptop.Status(ctx)
				if err == nil && s.State != "connected" {
					err = fmt.Errorf("it is %s", s.State)
				}
				return err
			})
			start = says("Connected as laptop")
			t.Logf("right %s after the service's end, %s after its start", end.Round(time.Millisecond), start.Round(time.Millisecond))
			d.seesIcon("connected", 60*time.Second)
		}
		if end > most || start > most {
			t.Errorf("the menu was right %s after the service's end and %s after its start, want %s", end, start, most)
		}
		if said := d.terminalSays(); strings.Contains(said, "ssh has ended") {
			t.Errorf("the ssh that was open ended with the service:\n%s", said)
		}
	})

	// A thief has the refresh token, and has changed it for a newer one since.
	thief := func() string {
		t.Helper()
		out, err := d.output(l.Program("hostile"), "refresh", d.home("stolen"), d.home(".local/state/lanyard/default"), l.Program("lanyard-tray"), "keyring")
		must(t, err)
		return out
	}
	if said := thief(); said != "refreshed\n" {
		t.Errorf("the thief's refresh shows nothing: %s", said)
	}

	// Log out, by clicks.
	d.choose("connected", "", "Log out")
	d.says("Connected as laptop, signed out", 60*time.Second)
	d.seesIcon("dark", 60*time.Second)
	d.shot("signed-out")
	watch := lab.StartWatch()
	defer watch.Stop()
	d.until(60*time.Second, "the terminal's session to end", func() error {
		s, err := web.Status(ctx)
		if err != nil {
			return err
		}
		if len(s.Sessions) != 0 {
			return fmt.Errorf("sessions: %+v", s.Sessions)
		}
		return nil
	})
	if took := watch.Took(); took > 5*time.Second {
		t.Errorf("the terminal's session ended after %s", took)
	}
	begin := lab.StartWatch()
	defer begin.Stop()
	d.until(60*time.Second, "ssh to end in the terminal", func() error {
		said := d.terminalSays()
		for _, want := range []string{"This sign-in was ended; run 'lanyard login'. [revoked]", "ssh has ended. Press Enter to close this window."} {
			if !strings.Contains(said, want) {
				return fmt.Errorf("the terminal does not say %q:\n%s", want, said)
			}
		}
		return nil
	})
	t.Logf("the terminal's ssh ended %s after its session", time.Since(begin.Began()).Round(time.Millisecond))
	if took := begin.Took(); took > 5*time.Second {
		t.Errorf("the terminal's ssh ended %s after its session", took)
	}
	time.Sleep(time.Second) // for the picture alone
	d.shot("signed-out-terminal")
	if said := thief(); !strings.HasPrefix(said, "refused: 400") || !strings.Contains(said, "invalid_grant") {
		t.Errorf("after logging out the thief goes on: %s", said)
	}
	if key, _ := d.output("secret-tool", "search", "--all", "service", "Lanyard"); strings.Contains(key, "secret = ") {
		t.Errorf("a key stayed in the keyring: %s", key)
	}
	if left, _ := filepath.Glob(laptop.Path(d.home(".ssh/lanyard-*"))); len(left) != 0 {
		t.Errorf("files stayed: %v", left)
	}

	d.choose("dark", "", "Quit")
	select {
	case <-tray.Done():
		if tray.Err() != nil {
			t.Errorf("the tray ended with %v", tray.Err())
		}
	case <-time.After(90 * time.Second):
		t.Error("the tray still runs")
	}
	if out, err := ssh(); err == nil || !strings.Contains(out, "run 'lanyard login'") {
		t.Errorf("after logging out: %v: %s", err, out)
	}
}

// machineRow is the row of a machine, which says whether it is online.
func machineRow(t *testing.T, d *desktop, name string) string {
	t.Helper()
	rows, err := d.menu()
	must(t, err)
	for _, r := range rows {
		if r.title != "Machines" {
			continue
		}
		for _, m := range r.rows {
			if strings.HasPrefix(m.title, name) {
				return m.title
			}
		}
	}
	t.Fatalf("%s is not in the menu: %q", name, titles(rows))
	return ""
}

// save keeps a part of the screen as the picture that README shows, where LANYARD_PICTURE names a file.
func save(t *testing.T, img image.Image, part image.Rectangle) {
	t.Helper()
	name := os.Getenv("LANYARD_PICTURE")
	if name == "" {
		name = filepath.Join("..", "..", ".build", "desktop", "menu.png")
	}
	out := image.NewNRGBA(image.Rect(0, 0, part.Dx(), part.Dy()))
	draw.Draw(out, out.Bounds(), img, part.Min, draw.Src)
	f, err := os.Create(name)
	must(t, err)
	defer f.Close()
	must(t, (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(f, out))
}
