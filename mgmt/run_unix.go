//go:build unix

package main

import (
	"context"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
)

// underSystem runs until ctx ends: supervisors of these systems want nothing else.
func underSystem(ctx context.Context, _ *slog.Logger, work func(context.Context) error) error {
	return work(ctx)
}

// outputs are where the server says what people are to read, and its log.
func (a *app) outputs(c *cobra.Command) (out, log io.Writer) { return c.OutOrStdout(), os.Stderr }
