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

// tools are the system's, in folders that are never those of a PATH that somebody else set.
type tools struct {
	folders []string
	limit   time.Duration // for an answer
}

var systemTools = tools{[]string{"/usr/bin", "/bin", "/usr/sbin", "/run/current-system/sw/bin"}, toolTime}

// other asks sources other than the files: getent(1), and id(1) on macOS, which has none.
func (t tools) other(name string) (Account, error) {
	out, err := t.run("getent", "passwd", "--", name)
	if errors.Is(err, exec.ErrNotFound) {
		out, err = t.run("id", "-P", "--", name)
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
func (t tools) groupsOf(name string, gid uint32) ([]uint32, error) {
	out, err := t.run("id", "-G", "--", name)
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

// shadow asks for a line of shadow(5) that is in no file here; "": there is none.
func (t tools) shadow(name string) (string, error) {
	out, err := t.run("getent", "shadow", "--", name)
	exit := (*exec.ExitError)(nil)
	if errors.Is(err, exec.ErrNotFound) || errors.As(err, &exit) && exit.Exited() { // 2: not found, 1: no such database
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("ask the system whether the account %q has expired: %w", name, err)
	}
	return out, nil
}

func (t tools) run(tool string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), t.limit)
	defer cancel()
	for _, dir := range t.folders {
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
