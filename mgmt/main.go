// Lanyard-mgmt is the management server of a Lanyard network: people, machines, policies, the audit log and an
// embedded OpenID provider, in one program with one port.
//
//	lanyard-mgmt serve
//
// works without any configuration. The other commands speak to the running server through the socket in its state
// folder.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"lanyard/platform/release"
	"lanyard/platform/usage"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newRoot().ExecuteContext(ctx); err != nil {
		var quiet exitCode
		if errors.As(err, &quiet) {
			os.Exit(int(quiet))
		}
		fmt.Fprintln(os.Stderr, "lanyard-mgmt:", err)
		os.Exit(1)
	}
}

// exitCode ends a command that has already said everything.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// app is what the commands share: the flags of the root.
type app struct {
	state string
	json  bool
}

func newRoot() *cobra.Command {
	a := &app{}
	root := &cobra.Command{
		Use: "lanyard-mgmt", Short: "The management server of a Lanyard network", Version: release.Version(),
		SilenceUsage: true, SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&a.state, "state", "", "state `folder` (default /var/lib/lanyard-mgmt for root, else $XDG_STATE_HOME/lanyard-mgmt)")
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print JSON")
	root.PersistentPreRunE = func(*cobra.Command, []string) (err error) {
		if a.state == "" {
			a.state, err = defaultState()
		}
		return err
	}
	root.AddCommand(
		a.serveCommand(), a.userCommand(), a.groupCommand(), a.policyCommand(), a.setupKeyCommand(), a.peerCommand(), a.tokenCommand(),
		a.auditCommand(), a.issuerCommand(), a.explainCommand(), a.backupCommand(), a.restoreCommand(), a.restoredCommand(), a.bundleCommand(), a.serviceCommand(),
		manCommand(root),
	)
	usage.Explain(root)
	return root
}

func manCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "man FOLDER", Short: "Write the manual pages into a folder", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			return doc.GenManTree(root, &doc.GenManHeader{Title: "LANYARD-MGMT", Section: "8", Source: "Lanyard"}, args[0])
		},
	}
}

var errNoHome = errors.New("there is no home folder to keep the state in; choose a folder with --state")
