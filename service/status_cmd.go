package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"lanyard/mgmt/api/reason"
	"lanyard/platform/paths"
	"lanyard/service/ipc"
	"lanyard/service/login"
)

// signIn is the caller's own sign-in, which the service knows nothing of.
type signIn struct {
	SignedIn bool        `json:"signed_in"`
	User     string      `json:"user,omitempty"`
	Until    time.Time   `json:"until,omitzero"`
	Refused  reason.Code `json:"refused,omitempty"` // why the management server takes it no more
}

func statusCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show how things are, and what to do next",
		Args:  cobra.NoArgs,
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		d, err := dial(c)
		if err != nil {
			return err
		}
		defer d.Close()
		st, err := d.Status(c.Context())
		if err != nil {
			return err
		}
		me := whoIsSignedIn(c.Context(), st)
		if asJSON {
			enc := json.NewEncoder(c.OutOrStdout())
			enc.SetIndent("", "  ")
			return enc.Encode(struct {
				*ipc.Status
				SignIn signIn `json:"sign_in"`
			}{st, me})
		}
		return writeStatus(c.OutOrStdout(), st, me, time.Now())
	}
	return c
}

func whoIsSignedIn(ctx context.Context, st *ipc.Status) signIn {
	if st.Self == nil {
		return signIn{}
	}
	p := paths.Find(st.Profile)
	l, err := login.Load(p, st.Self.ID)
	if err != nil {
		return signIn{}
	}
	_, _, fresh := p.Identity(st.Self.ID)
	s := signIn{SignedIn: true, User: l.Claims.Email}
	if s.User == "" {
		s.User = l.Claims.Subject
	}
	if f, err := login.ReadFreshness(fresh); err == nil {
		s.Until = f.Ends
		s.SignedIn = time.Now().Before(f.Ends)
	}
	if s.SignedIn && st.State == ipc.StateConnected {
		if refused := login.Refused(ctx, st.Server, l); refused != nil {
			s.SignedIn, s.Refused = false, reason.Code(refused.Code)
		}
	}
	return s
}

// writeStatus draws st for a person. Names that others chose are quoted where they could carry control characters.
func writeStatus(w io.Writer, st *ipc.Status, me signIn, now time.Time) error {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	switch st.State {
	case ipc.StateNew:
		line("Not part of a network.")
	case ipc.StateRemoved:
		line("%s", safe(cmp.Or(st.Removed, "Removed from the network.")))
	case ipc.StateDown:
		line("Disconnected (part of the network at %s).", plainServer(st.Server))
	case ipc.StateConnecting:
		line("Connecting to %s.", plainServer(st.Server))
	case ipc.StateOffline:
		line("Connected as %s, without word from the management server since %s.", st.Self.Name, clock(st.Map.HeardAt, now))
	case ipc.StateConnected:
		line("Connected as %s (%s).", st.Self.Name, st.Self.Addr4)
	}
	if st.Self != nil {
		switch {
		case me.Refused != "":
			line("You signed in as %s. %s [%s]", safe(me.User), me.Refused.Sentence(), me.Refused)
		case me.SignedIn:
			line("Signed in as %s%s.", safe(me.User), until(me.Until, now))
		default:
			line("Nobody is signed in under this account.")
		}
	}
	for _, p := range st.Peers {
		if len(p.MachineAccounts) > 0 {
			line("Without a sign-in, %s lets these accounts of this machine in: %s.", p.Host(), safe(strings.Join(p.MachineAccounts, ", ")))
		}
	}
	for _, p := range st.Peers {
		if p.AnyProcess {
			line("%s lets in anyone who can run a program on this machine.", p.Host())
		}
	}
	if st.Tunnel.Mode != "" {
		line("Tunnel: %s mode, UDP port %d.", st.Tunnel.Mode, st.Tunnel.ListenPort)
	}
	switch {
	case st.SSH.Serving:
		line("SSH: this machine admits whom its policies allow%s.", detail(st.SSH))
	case st.SSH.Allowed && st.Self != nil:
		line("SSH: switched on; no policy lets anyone in yet.")
	case st.Self != nil:
		line("SSH: this machine admits nobody ('%s' switches it on).", change(st, "lanyard up --allow-ssh"))
	}
	if st.Audit.Pending > 0 {
		line("Audit: %d events wait for the management server.", st.Audit.Pending)
	}
	if len(st.Managed) > 0 {
		line("Settled by your administrator: %s.", settled(st))
	}
	for _, p := range st.Problems {
		if p != st.Removed {
			line("Problem: %s", safe(p))
		}
	}
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if len(st.Peers) > 0 {
		fmt.Fprintln(tw, "\nMachine\tAddress\tSSH\tOnline\tLast heard of")
		for _, p := range st.Peers {
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", p.Host(), p.Addr4, served(p), online(p, now), heard(p.Handshake, now))
		}
		tw.Flush()
	}
	if len(st.Sessions) > 0 {
		fmt.Fprintln(tw, "\nWho is here\tAs\tFrom\tSince\tSession")
		for _, s := range st.Sessions {
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", safe(s.User), safe(s.LocalUser), s.Source, clock(s.Since, now), s.ID)
		}
		tw.Flush()
	}
	if n := nextStep(st, me); n != "" {
		line("\nNext: %s", n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// settled names what an administrator settled, each place with its settings.
func settled(st *ipc.Status) string {
	var places []string
	by := map[string][]string{}
	for _, name := range st.Managed {
		at := st.ManagedBy[name]
		if by[at] == nil {
			places = append(places, at)
		}
		by[at] = append(by[at], name)
	}
	for i, at := range places {
		places[i] = strings.Join(by[at], ", ")
		if at != "" {
			places[i] += " (" + at + ")"
		}
	}
	return strings.Join(places, "; ")
}

// nextStep is the one command that helps most now.
func nextStep(st *ipc.Status, me signIn) string {
	switch st.State {
	case ipc.StateNew, ipc.StateRemoved:
		return change(st, "lanyard up URL") + ", with the join command that the management server printed"
	case ipc.StateDown:
		return change(st, "lanyard up")
	case ipc.StateConnecting:
		return "lanyard doctor, if this lasts"
	}
	asMachine := func(p ipc.Peer) bool { return slices.Contains(p.MachineAccounts, st.Caller.Account) }
	if !me.SignedIn && !slices.ContainsFunc(st.Peers, asMachine) {
		switch me.Refused {
		case "":
		case reason.Blocked:
			return "" // only an administrator can help
		default:
			return loginCommandLine(st.Profile)
		}
		for _, p := range st.Peers {
			if p.ServesSSH {
				return loginCommandLine(st.Profile)
			}
		}
		return ""
	}
	for _, p := range st.Peers {
		if p.ServesSSH && (me.SignedIn || asMachine(p)) {
			target := p.Host()
			if p.LoginAs == "" {
				target = "ACCOUNT@" + target
			}
			if st.Tunnel.Mode == "userspace" {
				return "lanyard ssh " + target
			}
			return "ssh " + target
		}
	}
	return ""
}

// change is what the caller types to have command change this machine's settings.
func change(st *ipc.Status, command string) string {
	if st.Caller.Class == ipc.ClassChange {
		return command
	}
	return asAdministrator(command)
}

func served(p ipc.Peer) string {
	if p.ServesSSH {
		return "yes"
	}
	return "-"
}

func online(p ipc.Peer, now time.Time) string {
	switch is, known := p.IsOnline(now); {
	case is:
		return "yes"
	case known:
		return "no"
	}
	return "unknown"
}

func detail(s ipc.SSH) string {
	if s.Mode == "" {
		return ""
	}
	if s.Detail == "" {
		return " (" + s.Mode + ")"
	}
	return " (" + s.Mode + ": " + strings.TrimSuffix(safe(s.Detail), ".") + ")"
}

func heard(t, now time.Time) string {
	if t.IsZero() {
		return "not yet"
	}
	return max(0, now.Sub(t)).Round(time.Second).String() + " ago" // the clock may have been set back
}

func until(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " until " + clock(t, now)
}

// clock shows a time in the reader's zone, with the day unless it is today.
func clock(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04")
	}
	return t.Format("2 Jan 15:04")
}

// plainServer leaves the pin out, which tells a person nothing.
func plainServer(s string) string {
	s, _, _ = strings.Cut(s, "#")
	return safe(s)
}

// safe shows foreign text without letting it move the cursor.
func safe(s string) string {
	q := strconv.QuoteToGraphic(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}
