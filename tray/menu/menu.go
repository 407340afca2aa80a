// Package menu says what the tray shows: a pure function from what is known (the service's status, the person's
// sign-in, the settings) to an icon and rows with plain words.
//
// The top level always has the same rows in the same order; what does not apply is hidden. Only the ends of submenus
// grow and shrink. Whoever draws the menu can so keep each row's place, and a click never meets a row that has moved.
// The lines between the rows cannot be hidden, so something is visible on either side of each.
package menu

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"lanyard/service/ipc"
)

// Icon is the state as a picture; each has a shape of its own.
type Icon string

// Icons.
const (
	SignedOut  Icon = "signed-out"
	Connecting Icon = "connecting"
	Connected  Icon = "connected"
	Attention  Icon = "attention"
	Error      Icon = "error"
)

// Icons lists them all.
func Icons() []Icon { return []Icon{SignedOut, Connecting, Connected, Attention, Error} }

// Verb is what a row does.
type Verb string

// Verbs. Arg of the action is in brackets.
const (
	None         Verb = ""
	LogIn        Verb = "log-in" // [URL of the provider; empty: the last one's, else the network's own]
	CancelLogin  Verb = "cancel-login"
	LogOut       Verb = "log-out"
	SignOutPage  Verb = "sign-out-page" // [URL of the provider]
	Connect      Verb = "connect"
	Disconnect   Verb = "disconnect"
	OpenTerminal Verb = "open-terminal" // [machine's name for ssh]
	Copy         Verb = "copy"          // [text]
	EndSession   Verb = "end-session"   // [session id]
	AllowSSH     Verb = "allow-ssh"
	ForbidSSH    Verb = "forbid-ssh"
	Dashboard    Verb = "dashboard"
	Diagnose     Verb = "diagnose"
	Quit         Verb = "quit"
	SetStart     Verb = "set-start"
	SetNotify    Verb = "set-notify"
	SetVisitors  Verb = "set-visitors"
	SetProfile   Verb = "set-profile" // [profile]
)

// Action is a verb with what it is about.
type Action struct {
	Verb Verb
	Arg  string
}

// Row is one line of the menu.
type Row struct {
	Title     string
	Action    Action
	Separator bool
	Hidden    bool
	Disabled  bool
	Checkbox  bool
	Checked   bool
	Submenu   bool // Rows belong to it, even when there are none
	Rows      []Row
}

// Menu is all that is shown.
type Menu struct {
	Icon    Icon
	Tooltip string
	Rows    []Row
}

// SignIn is the person's sign-in on this machine.
type SignIn struct {
	Who  string    // empty: nobody
	Ends time.Time // of the login
	// Asking: a sign-in is open, here or in another program of this person's. Code is the one that the page must show.
	Asking bool
	Code   string
	URL    string // of the page, for a browser that did not open
	// Trouble is one sentence: why the sign-in is not kept fresh, or why the last login failed.
	Trouble string
}

// Settings are the person's choices.
type Settings struct {
	Start    bool // with the desktop
	Notify   bool
	Visitors bool // a notification when somebody comes in
}

// State is everything that the menu depends on.
type State struct {
	Now      time.Time
	Status   *ipc.Status // nil: the service was not heard of yet, or is absent
	Absent   string      // why there is no status, one sentence; empty: the first one is awaited
	Start    string      // the command that starts the service
	Joining  string      // the command that makes this machine part of a network
	SignIn   SignIn
	Busy     string // what the tray is doing, one sentence
	Reply    string // what came of the last click, where it is not seen otherwise; a sentence or two
	Failed   bool   // the last click's wish: Reply says why
	Settings Settings
	Profile  string
	Profiles []string // that this machine has
	Release  string   // of the tray
}

// SoonEnds is how long before its end a daily login is offered to be renewed.
const SoonEnds = 30 * time.Minute

// Build makes the menu.
func Build(s State) Menu {
	icon, line := stand(s)
	m := Menu{Icon: icon, Tooltip: "Lanyard: " + line}
	hint := hintOf(s)
	sep := Row{Separator: true}
	m.Rows = append(append([]Row{{Title: line, Disabled: true}}, problemRows(s)...), []Row{
		{Title: "Copy the command: " + hint, Action: Action{Copy, hint}, Hidden: hint == ""},
		sep,
		signInLine(s), loginRow(s), providersRow(s), addressRow(s),
		{Title: "Log out", Action: Action{Verb: LogOut}, Hidden: !s.signedIn() || s.SignIn.Asking},
		sep,
		{Title: "Machines", Submenu: true, Hidden: !s.up(), Rows: machines(s, OpenTerminal)},
		{Title: "Copy ssh command", Submenu: true, Hidden: len(reachable(s)) == 0, Rows: machines(s, Copy)},
		here(s), admission(s),
		connection(s),
		{Title: "Open dashboard", Action: Action{Verb: Dashboard}, Hidden: s.Status == nil || s.Status.Server == ""},
		settings(s),
		{Title: "Diagnose: copy a report", Action: Action{Verb: Diagnose}},
		about(s),
		sep,
		{Title: "Quit", Action: Action{Verb: Quit}},
	}...)
	return m
}

func (s State) signedIn() bool { return s.SignIn.Who != "" && s.Now.Before(s.SignIn.Ends) }

// up: the machine is part of a network that is switched on.
func (s State) up() bool { return s.Status != nil && s.Status.Self != nil }

// stand is where things stand, as a picture and a line.
func stand(s State) (Icon, string) {
	st := s.Status
	if st == nil {
		if s.Absent == "" {
			return Connecting, "Looking for the Lanyard service"
		}
		return Error, "The Lanyard service is not running"
	}
	switch st.State {
	case ipc.StateNew:
		return SignedOut, "This computer is not part of a network"
	case ipc.StateRemoved:
		return Error, "This computer was removed from the network"
	case ipc.StateDown:
		return SignedOut, "Disconnected"
	case ipc.StateConnecting:
		if len(st.Problems) > 0 {
			return Error, "Not connected"
		}
		return Connecting, "Connecting"
	}
	if s.SignIn.Asking {
		return Connecting, "Waiting for your sign-in in the browser"
	}
	line := "Connected"
	if st.Self != nil {
		line += " as " + safe(st.Self.Name)
	}
	switch {
	case s.Failed:
		return Attention, line + ", and something did not work"
	case s.SignIn.Trouble != "":
		return Attention, line + ", and your sign-in needs you"
	case !s.signedIn():
		return SignedOut, line + ", signed out"
	case st.State == ipc.StateOffline:
		return Attention, line + ", without the management server"
	case len(st.Problems) > 0:
		return Attention, line + ", with a problem"
	case s.SignIn.Ends.Sub(s.Now) <= SoonEnds:
		return Attention, line + ", and your sign-in ends soon"
	}
	return Connected, line
}

// problemLines is how many rows a problem may take: menus do not wrap.
const problemLines = 3

// problemRows are always as many, so that the rows after them keep their places.
func problemRows(s State) []Row {
	rows := make([]Row, problemLines)
	rest := []rune(strings.Join(strings.Fields(problemOf(s)), " "))
	for i := range rows {
		line := rest
		if cut := maxTitle; i < problemLines-1 && len(rest) > cut {
			for cut > maxTitle/2 && rest[cut] != ' ' {
				cut--
			}
			line = rest[:cut]
		}
		rest = []rune(strings.TrimPrefix(string(rest[len(line):]), " "))
		rows[i] = Row{Title: safe(string(line)), Disabled: true, Hidden: len(line) == 0}
	}
	return rows
}

func problemOf(s State) string {
	switch {
	case s.Busy != "":
		return s.Busy
	case s.Reply != "":
		return s.Reply
	case s.Status == nil:
		return s.Absent
	case s.SignIn.Trouble != "":
		return s.SignIn.Trouble
	case len(s.Status.Problems) > 0:
		return s.Status.Problems[0]
	}
	return ""
}

// hintOf is the command that helps, where no row does.
func hintOf(s State) string {
	switch {
	case s.Status == nil && s.Absent != "":
		return s.Start
	case s.Status != nil && (s.Status.State == ipc.StateNew || s.Status.State == ipc.StateRemoved):
		return s.Joining
	}
	return ""
}

func signInLine(s State) Row {
	r := Row{Disabled: true}
	switch {
	case s.signedIn():
		r.Title = fmt.Sprintf("Signed in as %s, %s left", safe(s.SignIn.Who), left(s.SignIn.Ends.Sub(s.Now)))
	case s.SignIn.Who != "":
		r.Title = fmt.Sprintf("The sign-in of %s has ended", safe(s.SignIn.Who))
	default:
		r.Title = "Nobody is signed in"
	}
	return r
}

func loginRow(s State) Row {
	switch {
	case s.SignIn.Asking && s.SignIn.Code != "":
		return Row{Title: fmt.Sprintf("Cancel the sign-in (the page must show %s)", safe(s.SignIn.Code)), Action: Action{Verb: CancelLogin}}
	case s.SignIn.Asking:
		return Row{Title: "Cancel the sign-in", Action: Action{Verb: CancelLogin}}
	case !s.up():
		return Row{Title: "Log in", Hidden: true}
	case !s.signedIn():
		return Row{Title: "Log in", Action: Action{Verb: LogIn}, Hidden: len(s.Status.Issuers) > 1}
	}
	return Row{
		Title: "Renew the sign-in", Action: Action{Verb: LogIn},
		Hidden: s.SignIn.Trouble == "" && s.SignIn.Ends.Sub(s.Now) > 2*SoonEnds,
	}
}

// providersRow is in the place of "Log in" where the network knows people by several identity providers.
func providersRow(s State) Row {
	r := Row{Title: "Log in with", Submenu: true, Hidden: !s.up() || s.signedIn() || s.SignIn.Asking || len(s.Status.Issuers) < 2}
	if r.Hidden {
		return r
	}
	named := map[string]int{}
	for _, i := range s.Status.Issuers {
		named[i.Name]++
	}
	for _, i := range s.Status.Issuers {
		title := i.Name
		if title == "" || named[title] > 1 {
			title = strings.TrimPrefix(i.URL, "https://")
		}
		r.Rows = append(r.Rows, Row{Title: safe(title), Action: Action{LogIn, i.URL}})
	}
	return r
}

func addressRow(s State) Row {
	return Row{
		Title: "Copy the sign-in page's address", Action: Action{Copy, s.SignIn.URL},
		Hidden: !s.SignIn.Asking || s.SignIn.URL == "",
	}
}

func here(s State) Row {
	r := Row{Title: "On this computer", Submenu: true, Hidden: !s.up() || !s.Status.SSH.Allowed}
	if s.Status == nil {
		return r
	}
	for _, x := range s.Status.Sessions {
		from := "an unknown machine"
		if x.Source != "" {
			from = safe(x.Source)
		}
		r.Rows = append(r.Rows,
			Row{Title: fmt.Sprintf("%s as %s, from %s since %s", safe(x.User), safe(x.LocalUser), from, clock(x.Since, s.Now)), Disabled: true},
			Row{Title: fmt.Sprintf("    End the session of %s", safe(x.User)), Action: Action{EndSession, x.ID}})
	}
	if n := len(s.Status.Sessions); n > 0 {
		r.Title = fmt.Sprintf("On this computer (%d)", n)
	} else {
		r.Rows = []Row{{Title: "Nobody is here", Disabled: true}}
	}
	return r
}

// admission explains who gets in before it asks for rights.
func admission(s State) Row {
	r := Row{Title: "SSH to this computer", Submenu: true, Hidden: !s.up()}
	if !s.up() {
		return r
	}
	ssh := s.Status.SSH
	who := "no policy lets anybody in yet"
	if len(ssh.Admits) > 0 {
		who = clip(strings.Join(ssh.Admits, "; "))
	}
	rights := " (asks for administrator rights)"
	if s.Status.Caller.Class == ipc.ClassChange {
		rights = ""
	}
	if ssh.Allowed {
		r.Title = "SSH to this computer: allowed"
		r.Rows = []Row{
			{Title: "Lets in: " + safe(who), Disabled: true},
			{Title: "Stop allowing it" + rights, Action: Action{Verb: ForbidSSH}},
		}
		return r
	}
	r.Title = "SSH to this computer: off"
	r.Rows = []Row{
		{Title: "Would let in: " + safe(who), Disabled: true},
		{Title: "Allow SSH to this computer" + rights, Action: Action{Verb: AllowSSH}},
	}
	return r
}

func connection(s State) Row {
	if s.Status == nil || s.Status.State == ipc.StateNew || s.Status.State == ipc.StateRemoved {
		return Row{Title: "Connect", Hidden: true}
	}
	if s.Status.State == ipc.StateDown {
		return Row{Title: "Connect", Action: Action{Verb: Connect}}
	}
	return Row{Title: "Disconnect", Action: Action{Verb: Disconnect}}
}

func settings(s State) Row {
	r := Row{Title: "Settings", Submenu: true, Rows: []Row{
		{Title: "Start when I log in to the desktop", Checkbox: true, Checked: s.Settings.Start, Action: Action{Verb: SetStart}},
		{Title: "Notifications", Checkbox: true, Checked: s.Settings.Notify, Action: Action{Verb: SetNotify}},
		{
			Title: "Tell me when somebody comes in", Checkbox: true, Checked: s.Settings.Notify && s.Settings.Visitors,
			Disabled: !s.Settings.Notify, Action: Action{Verb: SetVisitors},
		},
	}}
	if len(s.Profiles) < 2 {
		return r
	}
	for _, p := range s.Profiles {
		r.Rows = append(r.Rows, Row{Title: "Network: " + safe(p), Checkbox: true, Checked: p == s.Profile, Action: Action{SetProfile, p}})
	}
	return r
}

func about(s State) Row {
	r := Row{Title: "About Lanyard", Submenu: true, Rows: []Row{{Title: "Lanyard " + safe(s.Release), Disabled: true}}}
	if s.Status != nil {
		r.Rows = append(r.Rows, Row{Title: "Service " + safe(s.Status.Release), Disabled: true})
		if server, _, _ := strings.Cut(s.Status.Server, "#"); server != "" {
			r.Rows = append(r.Rows, Row{Title: "Managed by " + safe(server), Disabled: true})
		}
	}
	return r
}

// left is a duration in the unit that matters.
func left(d time.Duration) string {
	if d >= time.Hour {
		return fmt.Sprintf("%d h", int(d/time.Hour))
	}
	return fmt.Sprintf("%d min", int(d/time.Minute)+1)
}

// clock shows a time in the reader's zone, with the day unless it is today.
func clock(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04")
	}
	return t.Format("2 Jan 15:04")
}

// maxTitle bounds a row, in characters: menus do not wrap.
const maxTitle = 120

func clip(s string) string {
	if r := []rune(s); len(r) > maxTitle {
		return string(r[:maxTitle-1]) + "…"
	}
	return s
}

// safe keeps foreign text from playing tricks: no control characters, no change of direction, not too long.
func safe(s string) string {
	return clip(strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) || unicode.Is(unicode.Bidi_Control, r) {
			return '?'
		}
		return r
	}, s))
}
