package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/client"
	"lanyard/platform/paths"
	"lanyard/service/ipc"
)

// setupKeyEnv holds a setup key; it is not inherited by anything that this program starts.
const setupKeyEnv = "LANYARD_SETUP_KEY"

func upCommand() *cobra.Command {
	var (
		keyFile, name, operator, overlay string
		allowSSH, userspace              bool
		connect                          []string
	)
	c := &cobra.Command{
		Use:   "up [URL]",
		Short: "Join a network, or connect again",
		Long: "Joins the network of the management server at URL (the join command that it printed, pin and all), or connects\n" +
			"again when the machine is part of it already. Without a setup key, you sign in and the machine becomes yours.\n" +
			"A setup key comes from a file, from standard input ('-') or from " + setupKeyEnv + ", never from the command line.",
		Example: "  lanyard up https://vpn.example.com\n  sudo lanyard up https://10.0.0.5:8443#sha256=… --setup-key-file key --allow-ssh",
		Args:    cobra.MaximumNArgs(1),
	}
	f := c.Flags()
	f.StringVar(&keyFile, "setup-key-file", "", "file with a setup key; '-' reads standard input")
	f.StringVar(&name, "name", "", "what the machine is called in the network (default: its host name)")
	f.BoolVar(&allowSSH, "allow-ssh", false, "let people whom a policy allows open SSH sessions on this machine")
	f.BoolVar(&userspace, "userspace", false, "no network interface: ssh goes through this program (no root needed)")
	f.StringVar(&operator, "operator", "", "account that may change Lanyard's settings beside administrators")
	f.StringSliceVar(&connect, "connect", nil, "accounts that may open connections in userspace mode")
	f.StringVar(&overlay, "overlay4", "", "another overlay range, where the network's own clashes with a route here")
	c.RunE = func(c *cobra.Command, args []string) error {
		r := ipc.UpRequest{Name: name, Overlay4: overlay}
		if len(args) == 1 {
			if _, _, err := client.Parse(args[0]); err != nil {
				return err
			}
			r.URL = args[0]
		}
		key, err := setupKey(keyFile, c.InOrStdin())
		if err != nil {
			return err
		}
		r.SetupKey = key
		// A flag that was not given leaves its setting as it is.
		if f.Changed("allow-ssh") {
			r.AllowSSH = &allowSSH
		}
		if f.Changed("userspace") {
			r.Userspace = &userspace
		}
		if f.Changed("operator") {
			r.Operator = &operator
		}
		if f.Changed("connect") {
			r.Connect = &connect
		}
		d, err := dial(c)
		if err != nil {
			return err
		}
		defer d.Close()
		return up(c.Context(), d, profileOf(c), r, func(line string) { fmt.Fprintln(c.OutOrStdout(), line) })
	}
	return c
}

func up(ctx context.Context, d *ipc.Client, profile string, r ipc.UpRequest, say func(string)) error {
	needLogin, err := d.Up(ctx, r, say)
	if err == nil && !needLogin {
		sayNext(ctx, d, profile, say)
	}
	if err != nil || !needLogin {
		return err
	}
	say("Sign in to make this machine yours; a machine without a person joins with --setup-key-file.")
	cfg := loginConfig(profile, d, say)
	l, err := cfg.SignIn(ctx)
	if err != nil {
		return err
	}
	m, err := d.Machine(ctx)
	if err != nil {
		return err
	}
	server, err := client.New(m.Server)
	if err != nil {
		return err
	}
	proof, err := server.LoginProof(l.Login, http.MethodPost, api.RouteEnroll, m.EnrollBody)
	if err != nil {
		return err
	}
	reply, err := d.Enroll(ctx, ipc.EnrollByPerson{Body: m.EnrollBody, Authorization: proof.Authorization, Proof: proof.Proof})
	if err != nil {
		return err
	}
	say(fmt.Sprintf("This machine is %q in the network now, and yours.", reply.Name))
	if _, err := d.Up(ctx, ipc.UpRequest{}, say); err != nil {
		return err
	}
	if paths.Privileged() {
		// The sign-in was for the machine: an administrator's own ssh is not meant to be somebody's.
		say("Next, from your own account: " + loginCommandLine(profile))
		return nil
	}
	if _, err := cfg.Adopt(ctx, l, reply.PeerID); err != nil {
		return err
	}
	startKeeper(profile, reply.PeerID)
	sayNext(ctx, d, profile, say)
	return nil
}

// sayNext tells what to type now that the machine is connected.
func sayNext(ctx context.Context, d *ipc.Client, profile string, say func(string)) {
	st, err := d.Status(ctx)
	if err != nil || st.Self == nil {
		return // 'up' has said how it stands
	}
	next := nextStep(st, whoIsSignedIn(ctx, st))
	switch {
	case st.SSH.Allowed:
		say("Next, on another machine of the network: ssh " + st.Self.Host())
	case next == "" || next == loginCommandLine(profile) && paths.Privileged():
		say("Next, from your own account: " + loginCommandLine(profile))
	default:
		say("Next: " + next)
	}
}

// loginCommandLine is what a person types to sign in.
func loginCommandLine(profile string) string {
	if profile != "" && profile != paths.DefaultProfile {
		return "lanyard --profile " + profile + " login"
	}
	return "lanyard login"
}

// maxSetupKey is longer than any setup key.
const maxSetupKey = 4 << 10

func setupKey(file string, stdin io.Reader) (string, error) {
	key := os.Getenv(setupKeyEnv)
	os.Unsetenv(setupKeyEnv)
	in := stdin
	switch file {
	case "":
		return strings.TrimSpace(key), nil
	case "-":
	default:
		f, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("read the setup key: %w", err)
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxSetupKey))
	if err != nil {
		return "", fmt.Errorf("read the setup key: %w", err)
	}
	key = strings.TrimSpace(string(b))
	if key == "" || strings.ContainsAny(key, " \t\r\n") {
		return "", errors.New("the setup key must be one line, as 'lanyard-mgmt setup-key new' printed it")
	}
	return key, nil
}

func downCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Disconnect until the next 'lanyard up'; the machine stays part of the network",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			d, err := dial(c)
			if err != nil {
				return err
			}
			defer d.Close()
			if _, err := d.Down(c.Context()); err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), "Disconnected. 'lanyard up' connects again.")
			return nil
		},
	}
}
