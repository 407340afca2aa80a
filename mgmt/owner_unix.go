//go:build unix

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// asOwner has the account whose the state folder is do what root asks for, as on a machine where the system runs the
// server: what is written is the server's then, and nothing that lies there leads root elsewhere. It runs this program
// with args, unless the folder is nobody else's.
func (a *app) asOwner(cmd *cobra.Command, in io.Reader, out io.Writer, args ...string) (done bool, err error) {
	fi, err := os.Lstat(a.state)
	if err != nil || !fi.IsDir() || os.Geteuid() != 0 {
		return false, nil //nolint:nilerr // there is nobody else's folder
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
	var said bytes.Buffer
	c := exec.CommandContext(cmd.Context(), program, append([]string{"--state", state}, args...)...)
	c.Dir, c.Env = "/", []string{"PATH=/usr/bin:/bin"}
	c.Stdin, c.Stdout, c.Stderr = in, out, &said
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}}
	if err := c.Run(); err != nil {
		why := strings.TrimPrefix(strings.TrimSpace(said.String()), "lanyard-mgmt: ")
		if why == "" {
			return true, fmt.Errorf("%s as the account %d: %w", args[0], owner.Uid, err)
		}
		return true, errors.New(why)
	}
	return true, nil
}
