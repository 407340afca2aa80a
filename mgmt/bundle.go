package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"lanyard/platform/bundle"
	"lanyard/platform/paths"
	"lanyard/platform/release"
)

func (a *app) bundleCommand() *cobra.Command {
	return &cobra.Command{
		Use: "bundle [FILE]", Short: "Pack logs, settings and lists into a zip file for whoever helps you, without secrets", Args: cobra.MaximumNArgs(1),
		Long: `Pack the server's log, version, settings, the lists of machines, policies and providers and the newest audit events into FILE
(default lanyard-mgmt-bundle-TIME.zip, mode 0600). Keys, tokens and passwords are taken out; names of people, machines and
accounts stay.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			now := time.Now()
			name := "lanyard-mgmt-bundle-" + now.Format("20060102-150405") + ".zip"
			if len(args) > 0 {
				name = args[0]
			}
			b, err := bundle.Create(name, now)
			if err != nil {
				return err
			}
			a.pack(cmd, b, now)
			if err := b.Close(); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s\nIt holds no keys, tokens and passwords, but names of people and machines. Have a look before you send it.\n", b.Abs())
			return nil
		},
	}
}

func (a *app) pack(cmd *cobra.Command, b *bundle.Bundle, now time.Time) {
	ctx := cmd.Context()
	for _, f := range []string{"ca.key", "setup-url"} {
		if text, err := paths.ReadFile(filepath.Join(a.state, f)); err == nil {
			b.Secret(string(text))
		}
	}
	files := ""
	entries, err := os.ReadDir(a.state)
	if err != nil {
		files = err.Error() + "\n"
	}
	for _, e := range entries {
		if fi, err := e.Info(); err == nil {
			files += fmt.Sprintf("%s %12d %s %s\n", fi.Mode(), fi.Size(), fi.ModTime().Format(time.RFC3339), e.Name())
		}
	}
	b.Text("about.txt", fmt.Sprintf("lanyard-mgmt %s, %s/%s, %s\n%s\nstate folder %s\n%s", release.Version(), runtime.GOOS, runtime.GOARCH, runtime.Version(),
		now.Format(time.RFC3339), a.state, files))
	for name, path := range map[string]string{
		"peers": "/api/admin/peers", "policies": "/api/admin/policies", "issuers": "/api/admin/issuers", "groups": "/api/admin/groups",
		"audit": "/api/admin/audit?after=-1&limit=200",
	} {
		var v json.RawMessage
		if err := a.call(ctx, http.MethodGet, path, nil, &v); err != nil {
			b.Text(name+".json", err.Error()+"\n")
			continue
		}
		b.JSON(name+".json", v)
	}
	b.File("default.txt", "/etc/default/lanyard-mgmt")
	b.File("sysconfig.txt", "/etc/sysconfig/lanyard-mgmt")
	b.Logs(ctx, "lanyard-mgmt")
}
