package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kardianos/service"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"lanyard/installer/units"
	"lanyard/platform/paths"
)

// serviceCommand has the system run the server, from a program that no package brought.
//
// Each system has a file service_SYSTEM.go: serviceName and seeLog, what its files refuse, prepare and forget,
// which make and take away what belongs to the service beside its entry, and configure and supported.
func (a *app) serviceCommand() *cobra.Command {
	c := &cobra.Command{Use: "service", Short: "Have the system run the server"}
	c.AddCommand(a.installCommand(), a.uninstallCommand(), a.statusCommand())
	for _, v := range []struct{ verb, done, short string }{
		{"start", "Started.", "Start the installed server"},
		{"stop", "Stopped.", "Stop the installed server"},
		{"restart", "Restarted.", "Restart the installed server"},
	} {
		c.AddCommand(&cobra.Command{Use: v.verb, Short: v.short, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.systemService(nil)
			if err != nil {
				return err
			}
			if err := service.Control(s, v.verb); err != nil {
				return fmt.Errorf("%s the server: %w", v.verb, err)
			}
			fmt.Fprintln(c.OutOrStdout(), v.done)
			return nil
		}})
	}
	return c
}

func (a *app) installCommand() *cobra.Command {
	var v serving
	c := &cobra.Command{
		Use: "install", Short: "Have the system run the server, now and at every boot", Args: cobra.NoArgs,
		Long: `Have the system run the server, now and at every boot, with an account of its own. It takes the flags of 'lanyard-mgmt serve';
said again with others, it changes them. State that is there is kept.`,
		Example: `  sudo lanyard-mgmt service install --listen 192.168.1.10:8443
  sudo lanyard-mgmt service install --domain lanyard.example.com`,
	}
	v.flags(c.Flags())
	own := map[string]bool{}
	c.Flags().VisitAll(func(f *pflag.Flag) { own[f.Name] = true })
	c.RunE = func(c *cobra.Command, _ []string) error {
		if _, err := v.config(); err != nil {
			return err
		}
		var flags []string
		var bad error
		c.Flags().Visit(func(f *pflag.Flag) {
			if !own[f.Name] {
				return
			}
			value := f.Value.String()
			if f.Name == "tls-cert" || f.Name == "tls-key" || f.Name == "acme-ca" { // the service's folder is another
				var err error
				if value, err = filepath.Abs(value); err != nil {
					bad = err
				}
			}
			if err := checkFlag(value); err != nil {
				bad = fmt.Errorf("--%s: %w", f.Name, err)
			}
			flags = append(flags, "--"+f.Name+"="+value)
		})
		if bad != nil {
			return bad
		}
		return a.install(c, flags)
	}
	return c
}

func (a *app) install(c *cobra.Command, flags []string) error {
	s, err := a.systemService(flags)
	if err != nil {
		return err
	}
	if file := units.Packaged(units.Mgmt); file != "" {
		return fmt.Errorf("a package has installed the service already (%s); its flags are set as the package says", file)
	}
	program, err := self()
	if err != nil {
		return err
	}
	if err := prepare(c.Context(), program, flags); err != nil {
		return fmt.Errorf("prepare the service: %w", err)
	}
	if st, err := s.Status(); !errors.Is(err, service.ErrNotInstalled) { // an older one, or one with other flags
		if st == service.StatusRunning {
			if err := s.Stop(); err != nil {
				return fmt.Errorf("stop the server that is installed: %w", err)
			}
		}
		_ = s.Uninstall() // installing says what is wrong
	}
	if err := s.Install(); err != nil {
		return fmt.Errorf("install the service: %w", err)
	}
	if err := s.Start(); err != nil {
		return fmt.Errorf("the server is installed, but did not start (%s tells why): %w", seeLog, err)
	}
	ctx, cancel := context.WithTimeout(c.Context(), 30*time.Second)
	defer cancel()
	a.state = serverState()
	if err := a.answers(ctx); err != nil {
		return fmt.Errorf("the server was started, but does not answer (%s tells why): %w", seeLog, err)
	}
	fmt.Fprintf(c.OutOrStdout(), "The server is installed and runs. Its log (%s) has the command with which machines join.\n", seeLog)
	return nil
}

// answers waits for the admin socket.
func (a *app) answers(ctx context.Context) error {
	for {
		err := a.call(ctx, http.MethodGet, "/api/admin/groups", nil, nil)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

func (a *app) uninstallCommand() *cobra.Command {
	var purge bool
	c := &cobra.Command{
		Use: "uninstall", Short: "Stop the server and take it off the system; its data stays", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.systemService(nil)
			if err != nil {
				return err
			}
			packaged := units.Packaged(units.Mgmt)
			if packaged != "" && !purge {
				return fmt.Errorf("a package has installed the service (%s); remove the package. What it would leave, 'lanyard-mgmt service uninstall --purge' removes before", packaged)
			}
			if _, err := s.Status(); !errors.Is(err, service.ErrNotInstalled) {
				if err := s.Stop(); err != nil {
					fmt.Fprintf(c.ErrOrStderr(), "The server could not be stopped first (%v).\n", err)
				}
				if packaged == "" {
					if err := s.Uninstall(); err != nil {
						return fmt.Errorf("take the server off the system: %w", err)
					}
				}
			}
			if err := forget(c.Context(), purge); err != nil {
				return fmt.Errorf("the service is gone, but not all that belongs to it: %w", err)
			}
			switch {
			case packaged != "":
				fmt.Fprintln(c.OutOrStdout(), "The server is stopped, and its data is gone. Next, remove the package.")
			case purge:
				fmt.Fprintln(c.OutOrStdout(), "The server is gone, with its data.")
			default:
				fmt.Fprintf(c.OutOrStdout(), "The server is gone. Its data stays in %s, and the account that it belongs to; --purge removes both.\n", serverState())
			}
			return nil
		},
	}
	c.Flags().BoolVar(&purge, "purge", false, "remove the server's data, too: machines of this network will know no other server")
	return c
}

// systemService is the server as the system's own supervisor knows it, for whoever may change it.
func (a *app) systemService(flags []string) (service.Service, error) {
	if !paths.Privileged() {
		return nil, errors.New("only an administrator may change the system's services; run this with sudo, or run 'lanyard-mgmt serve' as yourself")
	}
	return a.supervised(flags)
}

func (a *app) supervised(flags []string) (service.Service, error) {
	if state, err := defaultState(); err != nil || filepath.Clean(a.state) != filepath.Clean(state) {
		return nil, fmt.Errorf("the system's service keeps its data in %s; leave --state out", serverState())
	}
	program, err := self()
	if err != nil {
		return nil, err
	}
	options, err := units.Options(units.Mgmt, program, flags)
	if err != nil {
		return nil, err
	}
	cfg := &service.Config{
		Name: serviceName, DisplayName: "Lanyard management server", Description: "Lanyard's management server: people, machines, policies and audit",
		Executable: program, Option: options,
	}
	configure(cfg, flags)
	s, err := service.New(nobody{}, cfg)
	if err == nil {
		err = supported(s)
	}
	if err != nil {
		return nil, fmt.Errorf("%w; run '%s serve' from whatever starts programs here", err, program)
	}
	return s, nil
}

// checkFlag refuses what the system's file would read as more than a value.
func checkFlag(value string) error {
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' || strings.ContainsRune(refused, r) }) {
		return fmt.Errorf("the service's settings cannot hold %q: use letters, digits and ordinary signs, without blanks", value)
	}
	return nil
}

// self is this program's absolute path, links resolved.
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

// nobody satisfies kardianos for a process that only installs and controls.
type nobody struct{}

func (nobody) Start(service.Service) error { return nil }
func (nobody) Stop(service.Service) error  { return nil }
