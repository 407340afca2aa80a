// Lanyard-pack makes the packages of all systems on one Linux machine.
//
//	lanyard-pack build --out .build/packages
//
// compiles the programs for every system and processor and writes deb, rpm, apk and Arch packages, the macOS and
// FreeBSD packages, archives, a bill of materials for each program, and SHA256SUMS. The same commit gives the same bytes,
// wherever and whenever it is built: nothing of the building machine goes in, and every time is the commit's.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use: "lanyard-pack", Short: "Make Lanyard's packages", SilenceUsage: true, SilenceErrors: true, Args: cobra.NoArgs,
	}
	root.AddCommand(buildCommand(), versionCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "lanyard-pack:", err)
		os.Exit(1)
	}
}

// versionCommand is for whoever compiles the programs without packaging them.
func versionCommand() *cobra.Command {
	var o options
	c := &cobra.Command{
		Use: "version", Short: "Print the version that programs of this source code carry", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			v, err := findVersion(c.Context(), o)
			if err == nil {
				_, err = fmt.Fprintln(c.OutOrStdout(), v)
			}
			return err
		},
	}
	c.Flags().StringVar(&o.source, "source", ".", "`folder` of the source code")
	return c
}

func buildCommand() *cobra.Command {
	var o options
	c := &cobra.Command{
		Use: "build", Short: "Compile and package everything", Args: cobra.NoArgs,
		Long: `Compile and package everything.

Signing is off by default. LANYARD_GPG_KEY (a file with a secret OpenPGP key; its passphrase in LANYARD_GPG_PASSPHRASE)
signs deb and rpm, LANYARD_APK_KEY (an RSA key in PEM) apk, LANYARD_AUTHENTICODE (a PKCS #12 file; its password in
LANYARD_AUTHENTICODE_PASSWORD) what goes to Windows, by osslsigncode, and PKG_SIGN_CMD is run with the name of each
macOS package as its only argument.`,
		RunE: func(c *cobra.Command, _ []string) error { return build(c.Context(), o, c.OutOrStdout()) },
	}
	f := c.Flags()
	f.StringVar(&o.source, "source", ".", "`folder` of the source code")
	f.StringVar(&o.out, "out", ".build/packages", "`folder` to write into; what was there is removed")
	f.StringVar(&o.version, "version", "", "the `version`, as in 1.2.3 (default: of the newest git tag, with the number of commits since)")
	f.Int64Var(&o.stamp, "stamp", 0, "the `time` that everything is dated, in seconds since 1970 (default: $SOURCE_DATE_EPOCH, else the commit's)")
	f.StringSliceVar(&o.formats, "formats", allFormats, "what to make")
	f.StringSliceVar(&o.packages, "packages", []string{peer.Name, server.Name}, "which packages, and whose programs in archives and bills of materials")
	f.StringSliceVar(&o.archs, "archs", []string{"amd64", "arm64"}, "processors")
	return c
}
