package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/windows"

	"lanyard/platform/hostfw"
	"lanyard/platform/paths"
	"lanyard/service/daemon"
	"lanyard/service/ipc"
	"lanyard/service/sshconfig"
)

// packageCommands are what Lanyard's Windows package calls while it is installed and replaced.
func packageCommands() []*cobra.Command { return []*cobra.Command{setupCommand(), asideCommand()} }

func setupCommand() *cobra.Command {
	var url, key, keyFile string
	var allowSSH bool
	c := &cobra.Command{Use: "setup", Short: "Join what the installer was told", Hidden: true, Args: cobra.NoArgs}
	c.Flags().StringVar(&url, "url", "", "management server")
	c.Flags().StringVar(&key, "setup-key", "", "the package's SETUP_KEY: Windows shows the arguments of the system's processes to administrators only")
	c.Flags().StringVar(&keyFile, "setup-key-file", "", "file with a setup key")
	c.Flags().BoolVar(&allowSSH, "allow-ssh", false, "let people in whom a policy allows")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if !paths.Privileged() {
			return errors.New("only an administrator may set the service up")
		}
		if err := allowInFirewall(c.Context()); err != nil {
			fmt.Fprintln(c.ErrOrStderr(), "lanyard:", err)
		}
		if url == "" && key == "" && keyFile == "" && !allowSSH { // with a key alone, a policy names the server
			return nil
		}
		ctx, cancel := context.WithTimeout(c.Context(), time.Minute)
		defer cancel()
		if err := answers(ctx, profileOf(c)); err != nil {
			return err
		}
		r := ipc.UpRequest{URL: url, SetupKey: key}
		if keyFile != "" {
			var err error
			if r.SetupKey, err = setupKey(keyFile, nil); err != nil {
				return err
			}
		}
		if allowSSH {
			r.AllowSSH = &allowSSH
		}
		d, err := dial(c)
		if err != nil {
			return err
		}
		defer d.Close()
		s, err := d.Status(ctx)
		if err != nil {
			return err
		}
		if staysDown(s, r) {
			fmt.Fprintln(c.OutOrStdout(), "Somebody switched Lanyard off here; 'lanyard up' connects again.")
			return nil
		}
		_, err = d.Up(ctx, r, func(line string) { fmt.Fprintln(c.OutOrStdout(), line) })
		return err
	}
	return c
}

// staysDown reports whether a machine that somebody switched off was told nothing new: an upgrade says again what the
// installation was told, and so does the command line of whoever deploys each version with the same one.
func staysDown(s *ipc.Status, r ipc.UpRequest) bool {
	return s.State == ipc.StateDown && (r.URL == "" || daemon.SameServer(r.URL, s.Server)) && (r.AllowSSH == nil || *r.AllowSSH == s.SSH.Allowed)
}

// leaveTheRest ends what people run of the package, and takes our rule out of the firewall.
func leaveTheRest(ctx context.Context) error {
	dirs, err := folders()
	if err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return errors.Join(endPrograms(dirs), removeAside(wait, dirs), hostfw.Forbid(ctx, firewallRule))
}

// removeRun: pipes go with their process.
func removeRun(string) error { return nil }

// firewallRule is the name of our rule, which lets in what other machines of the network send to the tunnel's port.
const firewallRule = "Lanyard"

func allowInFirewall(ctx context.Context) error {
	program, err := self()
	if err != nil {
		return err
	}
	return hostfw.Allow(ctx, hostfw.Rule{Name: firewallRule, Program: program, Protocol: "UDP", Description: "WireGuard, for Lanyard"})
}

// forOpenSSH is how ssh_config names this program: it cannot name one with blanks. Windows' short form of the path is
// the same file; where a volume has none, a copy lies in a folder that only administrators change.
func forOpenSSH(program string) (string, error) {
	if plain(program) || !paths.Privileged() {
		return program, nil
	}
	if long, err := windows.UTF16PtrFromString(program); err == nil {
		b := make([]uint16, windows.MAX_LONG_PATH)
		if n, err := windows.GetShortPathName(long, &b[0], uint32(len(b))); err == nil && n < uint32(len(b)) {
			if short := windows.UTF16ToString(b[:n]); plain(short) {
				return short, nil
			}
		}
	}
	dir := copyFolder()
	if err := paths.MachineDir(filepath.Dir(dir)); err != nil {
		return "", err
	}
	if err := paths.SharedDir(dir); err != nil {
		return "", err
	}
	code, err := os.ReadFile(program)
	if err != nil {
		return "", fmt.Errorf("read this program: %w", err)
	}
	copied := filepath.Join(dir, "lanyard.exe")
	if old, err := os.ReadFile(copied); err == nil && bytes.Equal(old, code) {
		return copied, nil
	}
	return copied, errors.Join(putAside(copied), paths.WriteFile(copied, code, 0o644)) // somebody's ssh may run it
}

func plain(path string) bool { return sshconfig.CheckProgram(path) == nil }
