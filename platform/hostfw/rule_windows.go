package hostfw

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/windows"
)

// Rule lets others reach a program: Windows Firewall drops what nothing of its own asked for.
type Rule struct {
	Name        string
	Program     string // absolute path
	Protocol    string // TCP or UDP
	Description string
}

// Allow puts the rule in place of one with the same name.
func Allow(ctx context.Context, r Rule) error {
	_ = Forbid(ctx, r.Name) // netsh adds a second one of the same name
	return netsh(ctx, "advfirewall", "firewall", "add", "rule", "name="+r.Name, "dir=in", "action=allow", "protocol="+r.Protocol,
		"program="+r.Program, "enable=yes", "description="+r.Description)
}

// Forbid takes the rule away.
func Forbid(ctx context.Context, name string) error {
	return netsh(ctx, "advfirewall", "firewall", "delete", "rule", "name="+name)
}

func netsh(ctx context.Context, args ...string) error {
	dir, err := windows.GetSystemDirectory()
	if err != nil {
		return fmt.Errorf("find Windows' own programs: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, filepath.Join(dir, "netsh.exe"), args...).CombinedOutput(); err != nil {
		return fmt.Errorf("change Windows Firewall's rule for Lanyard: %w: %s", err, out)
	}
	return nil
}
