//go:build unix

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// restoreAsOwner has the account whose the state folder is put the backup back when root asks for it, as on a machine where
// the system runs the server: what is written is the server's then, and nothing that lies there leads root elsewhere.
func (a *app) restoreAsOwner(cmd *cobra.Command, name string, force bool) (done bool, err error) {
	fi, err := os.Lstat(a.state)
	if err != nil || !fi.IsDir() || os.Geteuid() != 0 {
		return false, nil // there is nobody else's folder
	}
	owner, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return false, nil
	}
	state, err := filepath.Abs(a.state)
	if err != nil {
		return true, err
	}
	program, err := os.Executable()
	if err != nil {
		return true, fmt.Errorf("find this program's own path: %w", err)
	}
	in := os.Stdin
	if name != "-" { // root may read what the account may not
		if in, err = os.Open(name); err != nil {
			return true, fmt.Errorf("read the backup: %w", err)
		}
		defer in.Close()
	}
	args := []string{"--state", state, "restore", "-"}
	if force {
		args = append(args, "--force")
	}
	var said bytes.Buffer
	c := exec.CommandContext(cmd.Context(), program, args...)
	c.Dir, c.Env = "/", []string{"PATH=/usr/bin:/bin"}
	c.Stdin, c.Stdout, c.Stderr = in, cmd.OutOrStdout(), &said
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}}
	if err := c.Run(); err != nil {
		why := strings.TrimPrefix(strings.TrimSpace(said.String()), "lanyard-mgmt: ")
		if why == "" {
			return true, fmt.Errorf("restore as the account %d: %w", owner.Uid, err)
		}
		if rest, ok := strings.CutPrefix(why, "- "); ok {
			why = name + " " + rest
		}
		return true, errors.New(why)
	}
	return true, nil
}
