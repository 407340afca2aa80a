package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"lanyard/mgmt/server"
	"lanyard/platform/release"
	"lanyard/platform/supervisor"
)

// serving is what the flags of 'serve' say; 'service install' takes the same.
type serving struct {
	server.Config
	overlay string
	verbose bool
}

func (v *serving) flags(f *pflag.FlagSet) {
	f.StringVar(&v.HTTP, "http", "127.0.0.1:8080", "loopback `ADDRESS:PORT` for plain HTTP")
	f.StringVar(&v.Listen, "listen", "", "`ADDRESS:PORT` for HTTPS; with a CA of its own, unless --domain or --tls-cert say otherwise")
	f.StringVar(&v.Domain, "domain", "", "public `NAME` of the server; its certificate comes from an ACME server")
	f.StringVar(&v.ACMEDirectory, "acme-directory", "", "`URL` of the ACME server's directory (default Let's Encrypt)")
	f.StringVar(&v.ACMECAFile, "acme-ca", "", "`FILE` of certificates (PEM) to trust the ACME server by")
	f.StringVar(&v.CertFile, "tls-cert", "", "`FILE` with the server's certificate and its chain (PEM); read again when it changes")
	f.StringVar(&v.KeyFile, "tls-key", "", "`FILE` with that certificate's key (PEM)")
	f.StringVar(&v.URL, "url", "", "`URL` under which peers and browsers reach the server")
	f.StringVar(&v.overlay, "overlay4", "", "the network's IPv4 `range` (default 100.110.0.0/16); only before the first machine joins")
	f.DurationVar(&v.MaxMapAge, "max-map-age", 0, "how long machines go on without word from this server; kept (first 24h)")
	f.DurationVar(&v.LoginGrace, "login-grace", 0, "how much longer than a policy's --max-token-age a sign-in may go unreported; kept (first 10m)")
	f.DurationVar(&v.LoginLifetime, "login-lifetime", 0, "how long a sign-in lasts; kept (first 24h)")
	f.DurationVar(&v.TokenLifetime, "token-lifetime", 0, "how long a token of the embedded provider is good; kept (first 1h)")
	f.BoolVar(&v.verbose, "verbose", false, "log more")
}

// config is the server's configuration, but for its state, release and log.
func (v *serving) config() (server.Config, error) {
	cfg := v.Config
	if v.overlay != "" {
		p, err := netip.ParsePrefix(v.overlay)
		if err != nil {
			return cfg, fmt.Errorf("--overlay4 %q is not a range like 100.64.0.0/16", v.overlay)
		}
		cfg.Overlay4 = p
	}
	return cfg, nil
}

func (a *app) serveCommand() *cobra.Command {
	var v serving
	c := &cobra.Command{
		Use: "serve", Short: "Run the management server", Args: cobra.NoArgs,
		Long: `Run the management server.

Without flags it serves plain HTTP on loopback. With --listen it makes a CA of its own and serves HTTPS to a network;
the join command that it prints carries the CA's hash. With --domain it gets its certificate from Let's Encrypt or
another ACME server, which must reach it at port 443 of that name. 'lanyard-mgmt service install' takes the same flags and
has the system run it.`,
		Example: `  lanyard-mgmt serve
  lanyard-mgmt serve --listen 192.168.1.10:8443
  lanyard-mgmt serve --domain lanyard.example.com`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := v.config()
			if err != nil {
				return err
			}
			level := slog.LevelInfo
			if v.verbose {
				level = slog.LevelDebug
			}
			out, log := a.outputs(cmd)
			cfg.State, cfg.Release = a.state, release.Version()
			cfg.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level}))
			return underSystem(cmd.Context(), cfg.Log, func(ctx context.Context) error { return a.serve(ctx, out, cfg) })
		},
	}
	v.flags(c.Flags())
	return c
}

func (a *app) serve(ctx context.Context, out io.Writer, cfg server.Config) error {
	s, err := server.Open(ctx, cfg)
	if err != nil {
		return err
	}
	// The listeners are open: whoever reads this line can connect.
	fmt.Fprintf(out, "lanyard-mgmt: ready at %s\n", s.URL())
	fmt.Fprintf(out, "To join a machine, run there: lanyard up %s\n", s.Join())
	if err := tellSetup(out, s); err != nil {
		s.Close()
		return err
	}
	if err := supervisor.Find().Notify("READY=1"); err != nil {
		cfg.Log.Warn("the system could not be told that the server is ready", "err", err)
	}
	err = s.Serve(ctx)
	if cerr := s.Close(); err == nil {
		err = cerr
	}
	return err
}

// tellSetup shows the one-time secret to a person at a terminal; anywhere else (a log) it goes into a file.
func tellSetup(out io.Writer, s *server.Server) error {
	url := s.SetupURL()
	if url == "" {
		return nil
	}
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
