package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/client"
	"lanyard/mgmt/api/reason"
	"lanyard/platform/paths"
	"lanyard/service/doctor"
	"lanyard/service/ipc"
	"lanyard/service/login"
	"lanyard/service/sshconfig"
)

// loginCommands are the commands about the person: who they are, and their own ssh.
func loginCommands() []*cobra.Command {
	plumbing := &cobra.Command{
		Use: "openssh", Hidden: true, DisableFlagParsing: true,
		Short: "Plumbing of the generated ssh configuration",
		RunE: func(c *cobra.Command, args []string) error {
			return exitCode(opensshMain(args)) // reached only behind a flag; main dispatches it
		},
	}
	return []*cobra.Command{loginCommand(), logoutCommand(), whoamiCommand(), sshCommand(), doctorCommand(), plumbing}
}

func loginCommand() *cobra.Command {
	var issuer string
	var device bool
	c := &cobra.Command{
		Use:   "login",
		Short: "Sign in with your browser, once a day",
		Long: "Opens your browser at the network's identity provider. Afterwards plain ssh, scp, rsync and git reach the\n" +
			"machines that a policy gives you, until the sign-in ends (a day, unless the network says otherwise).\n\n" +
			"On a machine without a browser, --device shows an address and a code: open the address on your phone or laptop,\n" +
			"and type the code there.",
		Args: cobra.NoArgs,
	}
	c.Flags().StringVar(&issuer, "issuer", "", "`address` or name of the identity provider, where the network has several (default: the last one, else the network's own)")
	c.Flags().BoolVar(&device, "device", false, "sign in with a code that you type on another device")
	c.RunE = func(c *cobra.Command, _ []string) error {
		d, err := dial(c)
		if err != nil {
			return err
		}
		defer d.Close()
		cfg := loginConfig(profileOf(c), d, sayTo(c.ErrOrStderr()))
		cfg.Issuer, cfg.Device = issuer, device
		r, err := cfg.Login(c.Context())
		if err != nil {
			return interrupted(c.Context(), err)
		}
		me := r.Me
		if me == nil {
			me = &api.Me{UserRef: api.UserRef{Issuer: r.Login.Claims.Issuer, Subject: r.Login.Claims.Subject}, Email: r.Login.Claims.Email}
			// Another process signed in; the server knows the rest.
			if m, err := askMe(c.Context(), d, r.Login); err == nil {
				me = m
			}
		}
		writeMe(c.OutOrStdout(), me)
		st, err := d.Status(c.Context())
		if err != nil {
			return err
		}
		if st.Self != nil {
			startKeeper(profileOf(c), st.Self.ID)
		}
		writeNext(c.OutOrStdout(), cfg.Paths, st, me)
		for _, w := range sshconfig.Weakened(cfg.Paths) {
			cfg.Say("Warning: " + w.String())
		}
		return nil
	}
	return c
}

func logoutCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "logout",
		Short: "Sign out: ends your sessions and deletes the sign-in from this machine",
		Args:  cobra.NoArgs,
	}
	c.Flags().BoolVar(&all, "all", false, "on all your machines")
	c.RunE = func(c *cobra.Command, _ []string) error {
		profile := profileOf(c)
		peer, server, err := whereSignedIn(c.Context(), profile)
		if err != nil {
			return err
		}
		cfg := loginConfig(profile, lateDaemon{profile}, sayTo(c.ErrOrStderr()))
		page := ""
		cfg.AlsoAt = func(p string) { page = p }
		defer func() {
			if page != "" {
				fmt.Fprintf(c.OutOrStdout(), "Your browser may still be signed in at the provider; to end that, too, open %s\n", safe(page))
			}
		}()
		effect, err := cfg.Logout(c.Context(), peer, server, all)
		switch {
		case errors.Is(err, login.ErrNotSignedIn):
			fmt.Fprintln(c.OutOrStdout(), "You were not signed in.")
			return nil
		case endedBefore(err, all) != "":
			fmt.Fprintln(c.OutOrStdout(), endedBefore(err, all))
			return nil
		case errors.Is(err, login.ErrProviderNotTold):
			writeEffect(c.OutOrStdout(), effect)
			return err
		case err != nil:
			return fmt.Errorf("you are signed out on this machine, but the management server was not told, so open sessions "+
				"end only when it stops hearing of you: %w", err)
		}
		writeEffect(c.OutOrStdout(), effect)
		return nil
	}
	return c
}

// endedBefore is what somebody reads who signs out of a sign-in that was ended before; empty: it was not. With all, their
// other sign-ins may go on.
func endedBefore(err error, all bool) string {
	switch {
	case refusedFor(err, reason.Blocked):
		return "You are signed out. Your access was blocked before, which ended your sessions."
	case refusedFor(err, reason.Revoked) && !all:
		return "You are signed out. This sign-in was ended before, and its sessions with it."
	}
	return ""
}

// refusedFor reports whether the management server refused with that code.
func refusedFor(err error, code reason.Code) bool {
	refused := (*api.Error)(nil)
	return errors.As(err, &refused) && refused.Code == string(code)
}

func whoamiCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "whoami",
		Short: "Show who is signed in, and which machines that reaches",
		Args:  cobra.NoArgs,
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		d, err := dial(c)
		if err != nil {
			return err
		}
		defer d.Close()
		m, err := d.Machine(c.Context())
		if err != nil {
			return err
		}
		l, err := login.Load(paths.Find(profileOf(c)), m.PeerID)
		if err != nil {
			return err
		}
		me, err := askMe(c.Context(), d, l)
		if errors.Is(err, client.ErrUnreachable) {
			me = &api.Me{UserRef: api.UserRef{Issuer: l.Claims.Issuer, Subject: l.Claims.Subject}, Email: l.Claims.Email, Name: l.Claims.Name}
			fmt.Fprintln(c.ErrOrStderr(), "The management server does not answer; this is what your sign-in says.")
		} else if err != nil {
			return err
		}
		if asJSON {
			enc := json.NewEncoder(c.OutOrStdout())
			enc.SetIndent("", "  ")
			return enc.Encode(me)
		}
		st, err := d.Status(c.Context())
		if err != nil {
			return err
		}
		writeMe(c.OutOrStdout(), me)
		writeReach(c.OutOrStdout(), me, st)
		return nil
	}
	return c
}

// writeReach lists the machines that a person may reach, by the names that ssh on this one knows them by.
func writeReach(w io.Writer, me *api.Me, st *ipc.Status) {
	for _, r := range me.Machines {
		name := r.Name
		if i := slices.IndexFunc(st.Peers, func(p ipc.Peer) bool { return p.ID == r.Peer }); i >= 0 {
			name = st.Peers[i].Host()
		}
		fmt.Fprintf(w, "  %s as %s\n", safe(name), safe(strings.Join(r.As, ", ")))
	}
}

// whereSignedIn finds the machine's id and its server: from the service, or, when it does not run, from the files of
// the sign-in itself.
func whereSignedIn(ctx context.Context, profile string) (peer, server string, err error) {
	m, err := lateDaemon{profile}.Machine(ctx)
	if err == nil {
		return m.PeerID, m.Server, nil
	}
	if peer, ok := login.Find(paths.Find(profile)); ok {
		return peer, "", nil
	}
	return "", "", err
}

func askMe(ctx context.Context, d *ipc.Client, l *login.Login) (*api.Me, error) {
	m, err := d.Machine(ctx)
	if err != nil {
		return nil, err
	}
	server, err := client.New(m.Server)
	if err != nil {
		return nil, err
	}
	return server.Me(ctx, l.Login)
}

func writeMe(w io.Writer, me *api.Me) {
	name := me.Email
	if name == "" {
		name = me.Subject
	}
	if me.Name != "" && me.Name != name {
		name = me.Name + " <" + name + ">"
	}
	fmt.Fprintf(w, "You are %s.\n", safe(name))
}

// writeNext says what to type now.
func writeNext(w io.Writer, p paths.Paths, st *ipc.Status, me *api.Me) {
	if len(me.Machines) == 0 {
		fmt.Fprintln(w, "No policy gives you a machine yet; ask your administrator.")
		return
	}
	how := "ssh"
	if !plainSSH(p) {
		how = "lanyard ssh"
	}
	if name, ok := firstMachine(st, me); ok {
		fmt.Fprintf(w, "Next: %s %s\n", how, name)
	}
}

// firstMachine is a machine that the person may reach and that ssh on this one knows, by the name ssh knows it by.
func firstMachine(st *ipc.Status, me *api.Me) (string, bool) {
	for _, r := range me.Machines {
		for _, p := range st.Peers {
			if p.ID != r.Peer || !p.ServesSSH || api.CheckName(p.Name) != nil {
				continue
			}
			return p.Host(), true
		}
	}
	return "", false
}

// plainSSH reports whether ssh reads our configuration by itself: the machine's drop-in, or by the person's Include.
func plainSSH(p paths.Paths) bool {
	if p.System && !p.Moved {
		_, err := os.Stat(p.DropIn)
		return err == nil
	}
	own, err := paths.ReadText(filepath.Join(p.SSHDir, "config"))
	return err == nil && sshconfig.Included(p, own)
}

func writeEffect(w io.Writer, e *api.Effect) {
	fmt.Fprintln(w, "You are signed out.")
	for _, s := range e.Ended {
		fmt.Fprintf(w, "  ended a session on %s\n", safe(s.Peer))
	}
	if len(e.Unreached) > 0 {
		fmt.Fprintf(w, "  not reached, and so not told yet: %s\n", safe(strings.Join(e.Unreached, ", ")))
	}
}

func sshCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "ssh HOST [COMMAND...]",
		Short: "Run the system's ssh with the network's machines, where plain ssh does not know them",
		Long: "Runs the ssh of this system with your own configuration and that of the network's machines; all arguments are\n" +
			"ssh's. Where root runs the service, plain 'ssh HOST' does the same; 'lanyard ssh setup' makes it work without.",
		DisableFlagParsing: true, // they are ssh's
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		profile, args := leadingProfile(c, args)
		if len(args) == 0 || args[0] == "--help" || args[0] == "-h" {
			return c.Help()
		}
		return runSSH(c.Context(), paths.Find(profile), args)
	}
	var yes bool
	setup := &cobra.Command{
		Use:   "setup",
		Short: "Make plain ssh know the network's machines, by an Include in your ~/.ssh/config",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return sshSetup(c.InOrStdin(), c.OutOrStdout(), paths.Find(profileOf(c)), yes)
		},
	}
	setup.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.AddCommand(setup)
	return c
}

// leadingProfile takes --profile from before ssh's own arguments.
func leadingProfile(c *cobra.Command, args []string) (string, []string) {
	if len(args) >= 2 && args[0] == "--profile" {
		return args[1], args[2:]
	}
	if len(args) >= 1 {
		if v, ok := strings.CutPrefix(args[0], "--profile="); ok {
			return v, args[1:]
		}
	}
	return profileOf(c), args
}

// soon is how quickly ssh gives up when the machine refuses the sign-in.
const soon = 5 * time.Second

func runSSH(ctx context.Context, p paths.Paths, args []string) error {
	program, err := exec.LookPath("ssh")
	if err != nil {
		return errors.New("this system has no ssh; install OpenSSH's client")
	}
	if !plainSSH(p) {
		if _, err := os.Stat(p.DropIn); err != nil {
			return errors.New("there is no configuration for the network's machines yet; run 'lanyard up' first")
		}
		run, err := sshconfig.RunConfig(p)
		if err != nil {
			return err
		}
		args = append([]string{"-F", run}, args...)
	}
	// Not bound to the context: ctrl-C is ssh's to handle, it gets it from the terminal like us.
	cmd := exec.Command(program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	begin := time.Now()
	err = cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if exit.ExitCode() == 255 && time.Since(begin) < soon {
		// Perhaps the machine wanted a younger token; the next try brings one.
		if peer, ok := login.Find(p); ok {
			_ = login.Stale(p, peer)
		}
	}
	if exit.ExitCode() < 0 {
		return exitCode(255)
	}
	return exitCode(exit.ExitCode())
}

func sshSetup(in io.Reader, out io.Writer, p paths.Paths, yes bool) error {
	if plainSSH(p) {
		fmt.Fprintln(out, "Plain ssh knows the network's machines already.")
		return nil
	}
	lines, err := sshconfig.IncludeLines(p)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "These lines go to the end of %s/config:\n\n%s\n", p.SSHDir, lines)
	if !yes {
		fmt.Fprint(out, "Add them? [y/N] ")
		answer, _ := bufio.NewReader(in).ReadString('\n')
		if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
			return errors.New("nothing was changed")
		}
	}
	if err := sshconfig.Include(p); err != nil {
		return err
	}
	fmt.Fprintln(out, "Done: plain ssh knows the network's machines.")
	return nil
}

func doctorCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong, and say what to do",
		Args:  cobra.NoArgs,
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		findings := doctor.Run(c.Context(), doctor.Patient{Profile: profileOf(c), Paths: paths.Find(profileOf(c)), Program: self, Start: howToStart(profileOf(c))})
		if asJSON {
			enc := json.NewEncoder(c.OutOrStdout())
			enc.SetIndent("", "  ")
			if err := enc.Encode(findings); err != nil {
				return err
			}
		} else {
			doctor.Write(c.OutOrStdout(), findings)
		}
		if doctor.Bad(findings) {
			return exitCode(1)
		}
		return nil
	}
	return c
}

func sayTo(w io.Writer) func(string) { return func(line string) { fmt.Fprintln(w, line) } }

// interrupted says it plainly when the person pressed ctrl-C.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("the sign-in was cancelled; nothing was changed")
	}
	return err
}
