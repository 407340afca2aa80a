package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/kardianos/service"
	"github.com/spf13/cobra"

	"lanyard/installer/units"
	"lanyard/mgmt/api"
	"lanyard/platform/paths"
	"lanyard/platform/release"
	"lanyard/platform/supervisor"
	"lanyard/service/daemon"
	"lanyard/service/ipc"
	"lanyard/service/names"
	"lanyard/service/sshconfig"
)

func serviceCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "service",
		Short: "Run Lanyard's service, or have the system run it",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(
		runCommand(),
		controlCommand("install", "Have the system run the service, now and at every boot", install),
		uninstallCommand(), purgeCommand(), mayPurgeCommand(),
		controlCommand("start", "Start the installed service", control("start", "Started.")),
		controlCommand("stop", "Stop the installed service", control("stop", "Stopped.")),
		controlCommand("restart", "Restart the installed service", control("restart", "Restarted.")),
		sshConfigCommand(),
		&cobra.Command{Use: "status", Short: "Tell whether the service is installed and runs", Args: cobra.NoArgs, RunE: serviceStatus},
	)
	c.AddCommand(packageCommands()...)
	return c
}

func runCommand() *cobra.Command {
	var userspace, debug bool
	var port uint16
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the service in the foreground",
		Args:  cobra.NoArgs,
	}
	c.Flags().BoolVar(&userspace, "userspace", false, "no network interface (always so without root)")
	c.Flags().Uint16Var(&port, "listen-port", 0, "UDP port of the tunnel (default: 51820 or the next free one)")
	c.Flags().BoolVar(&debug, "debug", false, "log more")
	c.RunE = func(c *cobra.Command, _ []string) error {
		profile := profileOf(c)
		if err := api.CheckName(profile); err != nil {
			return fmt.Errorf("profile: %w", err)
		}
		program, err := self()
		if err != nil {
			return err
		}
		if program, err = forOpenSSH(program); err != nil {
			return err
		}
		level := slog.LevelInfo
		if debug {
			level = slog.LevelDebug
		}
		log := slog.New(slog.NewTextHandler(logWriter(c.ErrOrStderr(), profile), &slog.HandlerOptions{Level: level}))
		opt := daemon.Options{
			Profile: profile, Userspace: userspace, ListenPort: port, Program: program, Release: release.Version(), Log: log,
			Ready: func() { log.Info("the service is ready", "profile", profile, "socket", paths.For(profile).Socket) },
		}
		return runService(c.Context(), opt, daemon.Run)
	}
	return c
}

// self is this program's absolute path, links resolved: it stands in ssh_config and in unit files.
func self() (string, error) {
	p, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program's own path: %w", err)
	}
	if q, err := filepath.EvalSymlinks(p); err == nil {
		p = q
	}
	return p, nil
}

func controlCommand(use, short string, do func(*cobra.Command, service.Service) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		if !paths.Privileged() {
			return fmt.Errorf("only an administrator may %s the service; run it with sudo, or run 'lanyard service run' for a service of your own", use)
		}
		s, err := systemService(profileOf(c))
		if err != nil {
			return err
		}
		return do(c, s)
	}}
}

// sshConfigCommand is for installers: the machine's ssh is to read the drop-in, or not any more.
func sshConfigCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "ssh-config install|remove", Short: "Have the machine's ssh read Lanyard's configuration, or take it and the machines' names off the system", Hidden: true,
		Args: cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs), ValidArgs: []string{"install", "remove"},
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		p := paths.System(profileOf(c))
		if args[0] == "remove" {
			return leaveSystem(names.Hosts())
		}
		changed, err := sshconfig.InstallInclude(p)
		if changed {
			fmt.Fprintf(c.OutOrStdout(), "One line was added to the machine's ssh configuration; removal takes it out.\n")
		}
		return err
	}
	return c
}

func install(c *cobra.Command, s service.Service) error {
	// A package's service stays the package's: another definition of it would outlive the package.
	if units.Packaged(units.Name) == "" {
		if err := s.Install(); err != nil && !strings.Contains(err.Error(), "already exists") {
			return fmt.Errorf("install the service: %w", err)
		}
	}
	if _, err := sshconfig.InstallInclude(paths.System(profileOf(c))); err != nil {
		fmt.Fprintf(c.ErrOrStderr(), "Plain ssh will not know the network's machines ('lanyard ssh HOST' does): %v.\n", err)
	}
	if err := s.Start(); err != nil {
		return fmt.Errorf("the service is installed, but did not start: %w", err)
	}
	ctx, cancel := context.WithTimeout(c.Context(), 20*time.Second)
	defer cancel()
	if err := answers(ctx, profileOf(c)); err != nil {
		return err
	}
	next := "lanyard up URL"
	if os.Getenv("SUDO_USER") != "" {
		next = asAdministrator(next)
	}
	fmt.Fprintln(c.OutOrStdout(), "The service is installed and runs. Next: "+next+", with the join command that the management server printed")
	return nil
}

// answers waits for the service's socket.
func answers(ctx context.Context, profile string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := ipc.Dial(profile)
		if err == nil {
			return c.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the service was started, but does not answer (%w); its log says why", err)
		}
	}
}

func control(action, done string) func(*cobra.Command, service.Service) error {
	return func(c *cobra.Command, s service.Service) error {
		if err := service.Control(s, action); err != nil {
			return fmt.Errorf("%s the service: %w", action, err)
		}
		fmt.Fprintln(c.OutOrStdout(), done)
		return nil
	}
}

func serviceStatus(c *cobra.Command, _ []string) error {
	s, err := systemService(profileOf(c))
	if err != nil {
		return err
	}
	w := c.OutOrStdout()
	st, err := s.Status()
	fmt.Fprintln(w, stands(supervisor.StandingBy(runtime.GOOS, paths.Privileged(), st, err), err))
	d, err := ipc.Dial(profileOf(c))
	if err != nil {
		fmt.Fprintf(w, "No answer: %v.\n", err)
		return exitCode(3) // as systemctl does for a service that does not run
	}
	defer d.Close()
	status, err := d.Status(c.Context())
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "It answers (version %s, since %s).\n", safe(status.Release), status.StartedAt.Local().Format(time.DateTime))
	return nil
}

// stands tells a person what the supervisor said of the service.
func stands(is supervisor.Standing, err error) string {
	switch is {
	case supervisor.Absent:
		return "The system does not run the service: it is not installed ('lanyard service install')."
	case supervisor.Running:
		return "The system runs the service."
	case supervisor.Stopped:
		return "The service is installed and stopped ('lanyard service start')."
	case supervisor.Failed: // as only systemd says it
		return "The service is installed and has stopped after a failure; its log (journalctl -u " + units.Name + ") tells why."
	case supervisor.Hidden:
		return "The service is installed; whether the system runs it is told to administrators."
	}
	if err == nil {
		return "The system cannot tell whether it runs the service."
	}
	return fmt.Sprintf("The system cannot tell whether it runs the service: %v.", err)
}

// systemService is the service as the system's own supervisor knows it.
func systemService(profile string) (service.Service, error) {
	program, err := self()
	if err != nil {
		return nil, err
	}
	options, err := units.Options(units.Name, program, nil)
	if err != nil {
		return nil, err
	}
	cfg := &service.Config{
		Name: units.Name, DisplayName: "Lanyard", Description: "Lanyard: SSH sessions by a person's identity",
		Executable: program, Arguments: []string{"service", "run"}, Option: options,
	}
	if profile != paths.DefaultProfile {
		return nil, errors.New("the system runs the default profile only; run another one with 'lanyard service run --profile'")
	}
	s, err := service.New(nobody{}, cfg)
	if errors.Is(err, service.ErrNoServiceSystemDetected) {
		return nil, fmt.Errorf("no service supervisor was found on this system; run '%s service run' from whatever starts programs here", program)
	}
	return s, err
}

// nobody satisfies kardianos for a process that only installs and controls.
type nobody struct{}

func (nobody) Start(service.Service) error { return nil }
func (nobody) Stop(service.Service) error  { return nil }
