package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"lanyard/mgmt/server"
	"lanyard/platform/release"
	"lanyard/platform/supervisor"
)

func (a *app) serveCommand() *cobra.Command {
	var cfg server.Config
	var verbose bool
	var overlay string
	c := &cobra.Command{
		Use: "serve", Short: "Run the management server", Args: cobra.NoArgs,
		Long: `Run the management server.

Without flags it serves plain HTTP on loopback. With --listen it makes a CA of its own and serves HTTPS to a network;
the join command that it prints carries the CA's hash. With --domain it gets its certificate from Let's Encrypt or
another ACME server, which must reach it at port 443 of that name.`,
		Example: `  lanyard-mgmt serve
  lanyard-mgmt serve --listen 192.168.1.10:8443
  lanyard-mgmt serve --domain lanyard.example.com`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			level := slog.LevelInfo
			if verbose {
				level = slog.LevelDebug
			}
			if overlay != "" {
				p, err := netip.ParsePrefix(overlay)
				if err != nil {
					return fmt.Errorf("--overlay4 %q is not a range like 100.64.0.0/16", overlay)
				}
				cfg.Overlay4 = p
			}
			cfg.State, cfg.Release = a.state, release.Version()
			cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
			return a.serve(cmd, cfg)
		},
	}
	c.Flags().StringVar(&cfg.HTTP, "http", "127.0.0.1:8080", "loopback `ADDRESS:PORT` for plain HTTP")
	c.Flags().StringVar(&cfg.Listen, "listen", "", "`ADDRESS:PORT` for HTTPS; with a CA of its own, unless --domain or --tls-cert say otherwise")
	c.Flags().StringVar(&cfg.Domain, "domain", "", "public `NAME` of the server; its certificate comes from an ACME server")
	c.Flags().StringVar(&cfg.ACMEDirectory, "acme-directory", "", "`URL` of the ACME server's directory (default Let's Encrypt)")
	c.Flags().StringVar(&cfg.ACMECAFile, "acme-ca", "", "`FILE` of certificates (PEM) to trust the ACME server by")
	c.Flags().StringVar(&cfg.CertFile, "tls-cert", "", "`FILE` with the server's certificate and its chain (PEM); read again when it changes")
	c.Flags().StringVar(&cfg.KeyFile, "tls-key", "", "`FILE` with that certificate's key (PEM)")
	c.Flags().StringVar(&cfg.URL, "url", "", "`URL` under which peers and browsers reach the server")
	c.Flags().StringVar(&overlay, "overlay4", "", "the network's IPv4 `range` (default 100.110.0.0/16); only before the first machine joins")
	c.Flags().DurationVar(&cfg.MaxMapAge, "max-map-age", 0, "how long machines go on without word from this server; kept (first 24h)")
	c.Flags().DurationVar(&cfg.LoginGrace, "login-grace", 0, "how much longer than a policy's --max-token-age a sign-in may go unreported; kept (first 10m)")
	c.Flags().DurationVar(&cfg.LoginLifetime, "login-lifetime", 0, "how long a sign-in lasts; kept (first 24h)")
	c.Flags().DurationVar(&cfg.TokenLifetime, "token-lifetime", 0, "how long a token of the embedded provider is good; kept (first 1h)")
	c.Flags().BoolVar(&verbose, "verbose", false, "log more")
	return c
}

func (a *app) serve(cmd *cobra.Command, cfg server.Config) error {
	s, err := server.Open(cmd.Context(), cfg)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	// The listeners are open: whoever reads this line can connect.
	fmt.Fprintf(out, "lanyard-mgmt: ready at %s\n", s.URL())
	fmt.Fprintf(out, "To join a machine, run there: lanyard up %s\n", s.Join())
	if err := tellSetup(cmd, s); err != nil {
		s.Close()
		return err
	}
	if err := supervisor.Find().Notify("READY=1"); err != nil {
		cfg.Log.Warn("the system could not be told that the server is ready", "err", err)
	}
	err = s.Serve(cmd.Context())
	if cerr := s.Close(); err == nil {
		err = cerr
	}
	return err
}

// tellSetup shows the one-time secret to a person at a terminal; anywhere else (a log) it goes into a file.
func tellSetup(cmd *cobra.Command, s *server.Server) error {
	url := s.SetupURL()
	if url == "" {
		return nil
	}
	out := cmd.OutOrStdout()
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprintf(out, "There is no administrator yet. Within an hour, open: %s\n", url)
		return nil
	}
	file, err := s.WriteSetup()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "There is no administrator yet. Within an hour, open the address in %s\n", file)
	return nil
}
