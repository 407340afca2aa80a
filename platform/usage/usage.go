// Package usage tells who calls a command wrongly how it is called: one sentence, and where more is said.
package usage

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// Explain has root and all commands below it say so. Commands must have been added before.
func Explain(root *cobra.Command) {
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w; '%s --help' lists the flags", err, c.CommandPath())
	})
	explain(root)
}

func explain(c *cobra.Command) {
	for _, sub := range c.Commands() {
		explain(sub)
	}
	if c.HasSubCommands() && c.RunE == nil && c.Run == nil { // cobra would print the help for a verb that is none, and exit with 0
		c.Args, c.RunE = cobra.NoArgs, func(c *cobra.Command, _ []string) error { return c.Help() }
	}
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if check(c, args) == nil {
				return nil
			}
			return wrong(c, args)
		}
	}
}

func wrong(c *cobra.Command, args []string) error {
	if c.HasAvailableSubCommands() && len(args) > 0 {
		mean := ""
		c.SuggestionsMinimumDistance = 2 // as cobra has it where it suggests by itself
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			mean = fmt.Sprintf(" (did you mean %q?)", near[0])
		}
		return fmt.Errorf("unknown command %q for %q%s; '%s --help' lists the commands", args[0], c.CommandPath(), mean, c.CommandPath())
	}
	said := ""
	if len(args) > 0 {
		said = fmt.Sprintf(", not with %q", strings.Join(args, " "))
	}
	call := strings.TrimSuffix(c.UseLine(), " [flags]")
	return errors.New("it is called as '" + call + "'" + said + "; '" + c.CommandPath() + " --help' tells more")
}
