package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"lanyard/installer/units"
	"lanyard/platform/supervisor"
)

// underSystem runs under the service control manager, or in a console until ctx ends.
func underSystem(ctx context.Context, log *slog.Logger, work func(context.Context) error) error {
	return supervisor.Run(ctx, units.Mgmt, log, work)
}

// outputs are where the server says what people are to read, and its log: a service has a file for both.
func (a *app) outputs(c *cobra.Command) (out, log io.Writer) {
	if supervisor.Interactive() {
		return c.OutOrStdout(), os.Stderr
	}
	f := &supervisor.LogFile{Path: filepath.Join(a.state, "server.log")}
	return f, f
}
