// Command lanyard is the Lanyard service of a machine, and its command line.
//
// The service (`lanyard service run`) holds the tunnel and the SSH server; every other command is a short-lived
// process of whoever typed it, which asks the service over a local socket. The plumbing of OpenSSH's configuration,
// `lanyard openssh ...`, runs once per ssh and is dispatched before everything else.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/client"
	"lanyard/platform/paths"
	"lanyard/platform/release"
	"lanyard/platform/usage"
	"lanyard/service/ipc"
	"lanyard/sshd"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "openssh" {
		if handled, exit := sshd.HelperMain(os.Args[2:]); handled {
			os.Exit(exit)
		}
		os.Exit(opensshMain(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := rootCommand().ExecuteContext(ctx); err != nil {
		var quiet exitCode
		if errors.As(err, &quiet) {
			os.Exit(int(quiet))
		}
		fmt.Fprintln(os.Stderr, "lanyard: "+advice(err).Error())
		os.Exit(1)
	}
}

// exitCode ends a command that has already said everything.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "lanyard",
		Short: "Sign in once, then plain ssh to every machine of yours",
		Long: "Lanyard puts your identity on every SSH session: sign in once a day, then plain ssh, scp, rsync and your IDE\n" +
			"reach the machines that a policy allows, wherever they are.",
		Version:       release.Version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.PersistentFlags().String("profile", paths.DefaultProfile, "the network to speak of, on a machine that is part of several")
	root.AddCommand(upCommand(), downCommand(), statusCommand(), explainCommand(), inventoryCommand(), serviceCommand(), bundleCommand())
	root.AddCommand(loginCommands()...)
	usage.Explain(root)
	return root
}

// profileOf reads the flag that all commands have.
func profileOf(c *cobra.Command) string {
	p, err := c.Flags().GetString("profile")
	if err != nil || p == "" {
		return paths.DefaultProfile
	}
	return p
}

// dial finds the service of the profile that the command speaks of.
func dial(c *cobra.Command) (*ipc.Client, error) {
	cl, err := ipc.Dial(profileOf(c))
	if errors.Is(err, ipc.ErrNotRunning) {
		return nil, fmt.Errorf("%w; start it with: %s", ipc.ErrNotRunning, howToStart(profileOf(c)))
	}
	return cl, err
}

// advice adds what to type next where the error alone does not say it.
func advice(err error) error {
	if errors.Is(err, client.ErrUnreachable) {
		return fmt.Errorf("%w; check the network, then run 'lanyard doctor'", err)
	}
	var refused *api.Error
	if errors.As(err, &refused) && refused.Code != "" {
		return fmt.Errorf("%w [%s]", err, refused.Code)
	}
	return err
}
