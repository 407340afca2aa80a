package sshconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"lanyard/platform/paths"
)

// ErrNoFolder is returned by Apply when the machine's ssh has no folder for drop-ins.
var ErrNoFolder = errors.New("this machine's ssh has no folder for drop-ins; 'lanyard ssh HOST' works, and " +
	"'lanyard ssh setup' makes plain ssh work")

// Apply writes the files where they changed. known_hosts comes first, so that no configuration names a key file that
// is older than itself. The machine's drop-in folder is never made: where it is absent, ErrNoFolder.
func Apply(in Input) (*Files, error) {
	f, err := Render(in)
	if err != nil {
		return nil, err
	}
	perm := os.FileMode(0o600)
	if in.Paths.System {
		perm = 0o644 // every user's ssh reads them
	}
	if err := update(in.Paths.KnownHosts, f.KnownHosts, perm); err != nil {
		return f, err
	}
	if dir := filepath.Dir(in.Paths.DropIn); dir != in.Paths.State {
		if err := dropInFolder(in.Paths.DropIn); err != nil {
			return f, err
		}
	}
	return f, update(in.Paths.DropIn, f.Config, perm)
}

// Remove takes the drop-in away, for `down` and uninstallation. The known_hosts file goes too.
func Remove(p paths.Paths) error {
	var errs []error
	for _, name := range []string{p.DropIn, p.KnownHosts} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove %s: %w", name, err))
		}
	}
	if p.System && !p.Moved {
		errs = append(errs, leaveDropInFolder(p.DropIn))
	}
	return errors.Join(errs...)
}

// CheckProgram says why ssh_config cannot name a program, or nothing.
func CheckProgram(path string) error {
	_, err := shellWord(path)
	return err
}

func update(name string, data []byte, perm os.FileMode) error {
	if old, err := paths.ReadFile(name); err == nil && bytes.Equal(old, data) {
		return nil
	}
	return paths.WriteFile(name, data, perm)
}

// RunConfig writes the file that `lanyard ssh` hands to ssh -F, and returns its path: the person's own configuration
// first, then ours, then the machine's, in the order in which ssh would read them.
func RunConfig(p paths.Paths) (string, error) {
	var b strings.Builder
	b.WriteString("# Written by 'lanyard ssh'.\n")
	for _, name := range []string{filepath.Join(p.SSHDir, "config"), p.DropIn, systemConfig} {
		q, err := configWord(name)
		if err != nil {
			return "", err
		}
		// Back to the top level: an Include inside another file's last block would hold for its hosts only.
		fmt.Fprintf(&b, "Match all\nInclude %s\n", q)
	}
	if err := paths.PrivateDir(p.Login); err != nil {
		return "", err
	}
	name := filepath.Join(p.Login, "ssh_run_config")
	return name, update(name, []byte(b.String()), 0o600)
}

// mark begins the lines that Include adds.
const mark = "# Lanyard's machines (added by 'lanyard ssh setup'; remove these three lines to undo)"

// IncludeLines are what `lanyard ssh setup` adds to the end of the person's configuration, so that everything in it
// keeps its say.
func IncludeLines(p paths.Paths) (string, error) {
	q, err := configWord(p.DropIn)
	if err != nil {
		return "", err
	}
	return mark + "\nMatch all\n\tInclude " + q + "\n", nil
}

// Included reports whether config, the person's own configuration, reads our file.
func Included(p paths.Paths, config []byte) bool {
	lines, err := IncludeLines(p)
	return err == nil && bytes.Contains(config, []byte(lines[len(mark):]))
}

// Include adds IncludeLines to ~/.ssh/config unless they are there.
func Include(p paths.Paths) error {
	if err := paths.PrivateDir(p.SSHDir); err != nil {
		return err
	}
	lines, err := IncludeLines(p)
	if err != nil {
		return err
	}
	name := filepath.Join(p.SSHDir, "config")
	old, err := paths.ReadFile(name)
	perm := os.FileMode(0o600)
	switch fi, serr := os.Stat(name); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("%w\nAdd these lines to the end of your ssh configuration yourself:\n%s", err, lines)
	case serr == nil:
		perm = fi.Mode().Perm()
	}
	if Included(p, old) {
		return nil
	}
	if len(old) > 0 && !bytes.HasSuffix(old, []byte("\n")) {
		old = append(old, '\n')
	}
	return paths.WriteFile(name, append(old, lines...), perm)
}
