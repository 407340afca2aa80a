//go:build unix

package accounts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// toolTime is how long a directory may take to answer.
const toolTime = 5 * time.Second

// other asks sources other than the files: getent(1), and id(1) on macOS, which has none.
func other(name string) (Account, error) {
	out, err := run("getent", "passwd", "--", name)
	if errors.Is(err, exec.ErrNotFound) {
		out, err = run("id", "-P", "--", name)
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) || errors.Is(err, exec.ErrNotFound) {
		return Account{}, fmt.Errorf("%q: %w", name, ErrNotFound)
	}
	if err != nil {
		return Account{}, fmt.Errorf("ask the system for the account %q: %w", name, err)
	}
	line, rest, _ := strings.Cut(strings.TrimRight(out, "\n"), "\n")
	if rest != "" {
		return Account{}, fmt.Errorf("%q stands for more than one account: %w", name, ErrNotFound)
	}
	return parsePasswd(line)
}

// groupsOf asks id(1) for the numbers of all groups.
func groupsOf(name string, gid uint32) ([]uint32, error) {
	out, err := run("id", "-G", "--", name)
	if err != nil {
		return nil, err
	}
	gs := []uint32{gid}
	for _, f := range strings.Fields(out) {
		g, err := strconv.ParseUint(f, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("id -G answered %q", out)
		}
		if !slices.Contains(gs, uint32(g)) {
			gs = append(gs, uint32(g))
		}
	}
	return gs, nil
}

// run runs a tool of the system: never one from a PATH that somebody else set.
func run(tool string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), toolTime)
	defer cancel()
	for _, dir := range []string{"/usr/bin", "/bin", "/usr/sbin", "/run/current-system/sw/bin"} {
		p := filepath.Join(dir, tool)
		if _, err := os.Stat(p); err != nil {
			continue
		}
		c := exec.CommandContext(ctx, p, args...)
		c.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
		c.Dir = "/"
		out, err := c.Output()
		return string(out), err
	}
	return "", exec.ErrNotFound
}
