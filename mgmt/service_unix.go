//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"lanyard/platform/paths"
)

// refused in a flag's value: a unit's environment file, rc.conf and a property list each read one of these.
const refused = " \"'`$\\{}#;"

// command runs a program of the system with fixed arguments.
func command(ctx context.Context, stdin, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Stdin = strings.NewReader(stdin)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// hasAccount reports whether the system knows the account. Its files are asked, so that an answer is never an old one.
func hasAccount(name string) bool {
	_, err := user.Lookup(name)
	return err == nil
}

// ownState makes the state folder the account's, with all that a server which root ran has left in it.
func ownState(account string) error {
	u, err := user.Lookup(account)
	if err != nil {
		return fmt.Errorf("look for the server's account: %w", err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return fmt.Errorf("the account %s has the number %q", account, u.Uid)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return fmt.Errorf("the group of %s has the number %q", account, u.Gid)
	}
	return ownFolder(serverState(), uid, gid)
}

func ownFolder(dir string, uid, gid int) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir) // whatever lies in there, nothing outside is touched
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Chmod(".", 0o700); err != nil {
		return err
	}
	return fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Type().IsRegular() {
			return ownFile(root, path, uid, gid)
		}
		return root.Lchown(path, uid, gid)
	})
}

// ownFile gives a file away unless it has other names: they may be somewhere else, and the file another one's secret,
// which whoever could write into the folder wants to have. It is the file that was looked at, whatever has its name by then.
func ownFile(root *os.Root, path string, uid, gid int) error {
	f, err := root.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || st.Nlink > 1 && int(st.Uid) != uid {
		return fmt.Errorf("%s has other names beside this one and is not given to the server's account; see what it is ('find / -samefile %[1]s') and remove it here", filepath.Join(root.Name(), path))
	}
	return f.Chown(uid, gid)
}

// marked is how a file begins that 'service install' wrote and 'service uninstall' may remove.
const marked = "# Written by 'lanyard-mgmt service install', which 'lanyard-mgmt service uninstall' undoes.\n"

// writeMarked writes a file of settings, unless an administrator's own lies there.
func writeMarked(file, text string, flags []string) error {
	switch b, err := os.ReadFile(file); {
	case err == nil && !strings.HasPrefix(string(b), marked):
		if len(flags) > 0 {
			return fmt.Errorf("%s is there and not this command's; put the flags there and leave them out here, or move it away", file)
		}
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case len(flags) == 0:
		return removeMarked(file)
	}
	return paths.WriteFile(file, []byte(marked+text), 0o644)
}

func removeMarked(file string) error {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || !strings.HasPrefix(string(b), marked) {
		return err
	}
	return os.Remove(file)
}
