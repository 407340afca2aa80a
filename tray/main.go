// Command lanyard-tray is the icon in the panel: sign in and out, see the machines and who is here, without a
// terminal. It runs as the person at the desktop and may do nothing that they may not: what changes the machine goes to
// the service (service/ipc), which asks the kernel who calls, or through the system's own dialog for rights.
//
// The parts: menu says what is shown (a pure function), bar draws it, follow hears the service's events, signin keeps
// the person's sign-in fresh, and tray is the one goroutine that holds the state between them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"fyne.io/systray"

	"lanyard/mgmt/api"
	"lanyard/platform/browser"
	"lanyard/platform/clipboard"
	"lanyard/platform/elevate"
	"lanyard/platform/notify"
	"lanyard/platform/paths"
	"lanyard/platform/release"
	"lanyard/platform/terminal"
	"lanyard/service/keystore"
	"lanyard/tray/icons"
	"lanyard/tray/menu"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "keyring" { // the helper process of the keystore
		os.Exit(keystore.Main(os.Args[2:], os.Stdin, os.Stdout))
	}
	program, err := os.Executable() // now: later it may be another file
	if err == nil {
		err = run(os.Args[1:], program)
	}
	if errors.Is(err, errUpgraded) {
		err = become(program)
	}
	if err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "lanyard-tray: "+err.Error())
		os.Exit(1)
	}
}

func run(args []string, self string) error {
	flags := flag.NewFlagSet("lanyard-tray", flag.ContinueOnError)
	profile := flags.String("profile", "", "the network to show, on a machine that is part of several")
	auto := flags.Bool("autostart", false, "started with the desktop: ends at once where the person switched that off")
	version := flags.Bool("version", false, "print the version")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *version {
		fmt.Println("lanyard-tray", release.Version())
		return nil
	}
	if *profile != "" {
		if err := api.CheckName(*profile); err != nil {
			return fmt.Errorf("profile: %w", err)
		}
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	settings := openSettings(paths.DefaultProfile)
	if *auto && !settings.get().Start {
		return nil
	}
	if *profile == "" {
		*profile = settings.get().Profile
	}
	session, err := joinSession()
	if errors.Is(err, errRunning) {
		return errors.New("the tray runs already in this desktop session; look for its badge in the panel")
	}
	if err != nil {
		return err
	}
	defer session.close()
	notes, err := notify.Open()
	if err != nil {
		log.Warn("there will be no notifications", "err", err)
		notes = nil
	} else {
		defer notes.Close()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx = session.bind(ctx)

	t := newTray(ctx, *profile, settings)
	t.log, t.release, t.session = log, release.Version(), session
	t.program, t.replaced = beside(self), replacement(self)
	t.person = func(profile string) person { return newPerson(profile, []string{self, "keyring"}, t.unsealed) }
	b := newBar(t.click)
	t.desk = desk{
		draw: b.draw, browse: browser.Open, copy: clipboard.Write, terminal: terminal.Open, elevate: elevate.Run,
		entry: func(on bool) error { return autostart(self, on) },
	}
	if notes != nil {
		t.desk.note = notes.Show
	}
	first := t.view()
	introduce(first.Icon)
	systray.Run(func() {
		b.draw(first)
		session.shown(ctx, log, b.shown)
		go b.insist(ctx)
		go func() {
			t.run()
			systray.Quit()
		}()
	}, func() {})
	stop()
	<-t.done
	if t.upgraded {
		return errUpgraded
	}
	return nil
}

// beside is `lanyard`, which is installed in the same folder.
func beside(self string) string {
	if real, err := filepath.EvalSymlinks(self); err == nil {
		self = real
	}
	return filepath.Join(filepath.Dir(self), "lanyard"+exeSuffix)
}

// setIcon shows icon in the form that this system's panel takes.
func setIcon(icon menu.Icon) {
	// The library panics when the session bus went away under it; the session ends the tray then (session.bind).
	defer func() {
		if why := recover(); why != nil {
			slog.Warn("the icon could not be shown", "why", why)
		}
	}()
	systray.SetTemplateIcon(icons.PNG(icons.Template(icon, 44)), picture(icon))
}
