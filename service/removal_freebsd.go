package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// leaveTheRest takes the service's variables out of rc.conf.
func leaveTheRest(ctx context.Context) error {
	args := []string{"-i", "-x", "lanyard_enable", "lanyard_management_url", "lanyard_allow_ssh"} // -i: they need not be there
	if out, err := exec.CommandContext(ctx, "sysrc", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("sysrc %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
