package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
	"lanyard/platform/detach"
	"lanyard/platform/paths"
	_ "lanyard/service/early" // `openssh prepare`, when there is nothing to do
	"lanyard/service/ipc"
	"lanyard/service/keystore"
	"lanyard/service/login"
	"lanyard/service/sshconfig"
)

// opensshMain is the plumbing of the generated ssh_config: `lanyard openssh prepare|connect|keyring ...`. It runs with
// every ssh command, so it stays clear of the command framework.
func opensshMain(args []string) int {
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "lanyard openssh is for the ssh configuration that Lanyard writes; you want 'lanyard ssh HOST'.")
		return 2
	}
	switch verb, rest := args[0], args[1:]; verb {
	case "prepare":
		return prepare(rest)
	case "connect":
		return connect(rest)
	case "refused": // the way to a machine that the map says is out of reach
		code := reason.Code(strings.Join(rest, " "))
		if !code.Known() {
			code = reason.Unreachable
		}
		fmt.Fprintln(os.Stderr, code.Line())
		return 1
	case "terminal":
		return inTerminal(rest)
	case "keep":
		return keep(rest)
	case "keyring":
		return keystore.Main(rest, os.Stdin, os.Stdout)
	default:
		fmt.Fprintf(os.Stderr, "Lanyard: this program does not know 'openssh %q'; the ssh configuration was written by another version.\n", verb)
		return 2
	}
}

// prepare PROFILE PEER [MAX-AGE-SECONDS [ACCOUNTS]] is the helper of Match exec: PEER is this machine, ACCOUNTS are those
// here that the machine at the other end lets in without a sign-in. When the certificate is good to offer, it reads one small file and is done. Its exit status gates nothing: strict host key checking and the
// certificate stand in blocks of their own, so that ssh never falls back to asking for trust or for a password.
func prepare(args []string) int {
	if len(args) < 2 || len(args) > 4 || api.CheckName(args[0]) != nil || api.CheckName(args[1]) != nil {
		fmt.Fprintln(os.Stderr, "usage: lanyard openssh prepare PROFILE PEER [SECONDS [ACCOUNTS]]")
		return 2
	}
	var maxAge time.Duration
	if len(args) >= 3 {
		sec, err := strconv.Atoi(args[2])
		if err != nil || sec < 0 {
			fmt.Fprintln(os.Stderr, "usage: lanyard openssh prepare PROFILE PEER [SECONDS [ACCOUNTS]]")
			return 2
		}
		maxAge = time.Duration(sec) * time.Second
	}
	profile, peer := args[0], args[1]
	if login.Fresh(paths.For(profile), peer, maxAge, time.Now()) {
		return 0
	}
	accounts := ""
	if len(args) == 4 {
		accounts = args[3]
	}
	return prepareSlowly(profile, peer, maxAge, accounts)
}

func prepareSlowly(profile, peer string, maxAge time.Duration, accounts string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	say := func(line string) { fmt.Fprintln(os.Stderr, line) }
	cfg := loginConfig(profile, lateDaemon{profile}, say)
	// Once per refresh, not per ssh: what a person's own configuration takes away from the checks.
	for _, w := range sshconfig.Weakened(cfg.Paths) {
		say("Lanyard: " + w.String())
	}
	if accounts != "" {
		if cfg.SignedIn(peer) && cfg.Ensure(ctx, peer, maxAge, false) == nil {
			startKeeper(profile, peer)
			return 0 // a person's certificate is preferred
		}
		err := cfg.EnsureMachine(ctx, lateDaemon{profile}, peer, accounts)
		if err == nil {
			return 0
		}
		if !errors.Is(err, login.ErrNoMachineRule) && !hasTerminal() {
			say(oneLine(err)) // it may be an account of Ansible's or a CI's: no browser opens for those
			return 1
		}
	}
	defer startKeeper(profile, peer)
	mayLogin := hasTerminal() || someoneIsThere() && !login.MachineAccount(ctx, lateDaemon{profile})
	err := cfg.Ensure(ctx, peer, maxAge, mayLogin)
	if err == nil {
		return 0
	}
	say(oneLine(err))
	return 1
}

// startKeeper leaves a process behind that keeps the caller's sign-in fresh and reported while sessions are open. It
// ends by itself when there is one already, and with the sign-in.
func startKeeper(profile, peer string) {
	if !(login.Config{Paths: paths.For(profile)}).SignedIn(peer) {
		return
	}
	self, err := os.Executable()
	if err != nil {
		return
	}
	cmd := exec.Command(self, "openssh", "keep", profile, peer) // without our streams: ssh waits for their end
	cmd.Dir = string(filepath.Separator)
	detach.Detach(cmd)
	if cmd.Start() == nil {
		_ = cmd.Process.Release()
	}
}

// keep PROFILE PEER is what startKeeper starts.
func keep(args []string) int {
	if len(args) != 2 || api.CheckName(args[0]) != nil || api.CheckName(args[1]) != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cfg := loginConfig(args[0], lateDaemon{args[0]}, func(string) {})
	if cfg.Keep(ctx, args[1], lateDaemon{args[0]}.tokenAge) != nil {
		return 1
	}
	return 0
}

// tokenAge is the shortest age of a token that a machine in reach wants; 0: the default, or the service is silent.
func (l lateDaemon) tokenAge(ctx context.Context) time.Duration {
	d, err := ipc.Dial(l.profile)
	if err != nil {
		return 0
	}
	defer d.Close()
	st, err := d.Status(ctx)
	if err != nil {
		return 0
	}
	var least time.Duration
	for _, p := range st.Peers {
		if age := p.TokenAge.Duration(); age > 0 && (least == 0 || age < least) {
			least = age
		}
	}
	return least
}

// oneLine is what a person reads before ssh's own "Permission denied".
func oneLine(err error) string {
	var code *reason.Error
	if errors.As(err, &code) {
		return code.Code.Line()
	}
	var refused *api.Error
	if errors.As(err, &refused) && reason.Code(refused.Code).Known() {
		return reason.Code(refused.Code).Line()
	}
	return "Lanyard: " + advice(err).Error()
}

// connect [PROFILE] HOST PORT is the way out in userspace mode: bytes between ssh and the service, no SSH in it.
func connect(args []string) int {
	if len(args) == 2 {
		args = append([]string{paths.DefaultProfile}, args...)
	}
	if len(args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: lanyard openssh connect [PROFILE] HOST PORT")
		return 2
	}
	port, err := strconv.ParseUint(args[2], 10, 16)
	if err != nil || port == 0 {
		fmt.Fprintf(os.Stderr, "Lanyard: %q is not a port.\n", args[2])
		return 2
	}
	if err := pipe(args[0], args[1], uint16(port)); err != nil {
		fmt.Fprintln(os.Stderr, oneLine(err))
		return 1
	}
	return 0
}

// inTerminal PROFILE HOST is what the tray runs in a terminal window: ssh, and when that fails the window stays until
// the person has read why.
func inTerminal(args []string) int {
	if len(args) < 1 || len(args) > 2 || api.CheckName(args[0]) != nil || len(args) == 2 && strings.HasPrefix(args[1], "-") {
		fmt.Fprintln(os.Stderr, "usage: lanyard openssh terminal PROFILE [HOST]")
		return 2
	}
	if len(args) == 1 { // how things are, and what to type next
		root := rootCommand()
		root.SetArgs([]string{"--profile", args[0], "status"})
		if err := root.Execute(); err != nil {
			fmt.Fprintln(os.Stderr, oneLine(err))
		}
		fmt.Fprint(os.Stderr, "\nPress Enter to close this window. ")
		_, _ = os.Stdin.Read(make([]byte, 1))
		return 0
	}
	err := runSSH(context.Background(), paths.Find(args[0]), args[1:])
	if err == nil {
		return 0
	}
	var exit exitCode
	if !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, oneLine(err))
	}
	fmt.Fprint(os.Stderr, "\nssh has ended. Press Enter to close this window. ")
	_, _ = os.Stdin.Read(make([]byte, 1)) // a window that is closed has its answer too
	return 1
}

// pipeBuffer is the size in which bytes are copied; netstack and ssh both deliver in large pieces.
const pipeBuffer = 128 << 10

func pipe(profile, host string, port uint16) error {
	d, err := ipc.Dial(profile)
	if err != nil {
		return err
	}
	defer d.Close()
	conn, err := d.Connect(context.Background(), host, port)
	if err != nil {
		return err
	}
	defer conn.Close()
	go func() {
		// Without ReaderFrom: the buffer's size is ours to choose. ssh's end of input is passed on.
		io.CopyBuffer(struct{ io.Writer }{conn}, struct{ io.Reader }{os.Stdin}, make([]byte, pipeBuffer))
		if w, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = w.CloseWrite()
		} else {
			conn.Close()
		}
	}()
	_, err = io.CopyBuffer(struct{ io.Writer }{os.Stdout}, struct{ io.Reader }{conn}, make([]byte, pipeBuffer))
	if errors.Is(err, syscall.EPIPE) {
		return nil // ssh is gone
	}
	return err
}

// loginConfig signs this user in, with the service d of profile.
func loginConfig(profile string, d login.Daemon, say func(string)) login.Config {
	p := paths.Find(profile)
	return login.Config{Paths: p, Store: keystore.Open(p.Login, keyringHelper(), say), Daemon: d, Say: say}
}

// keyringHelper is this program as the helper process of the keystore.
func keyringHelper() []string {
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	return []string{self, "openssh", "keyring"}
}

// lateDaemon looks for the service when it is needed: a refresh does without.
type lateDaemon struct{ profile string }

func (l lateDaemon) Machine(ctx context.Context) (*ipc.Machine, error) {
	d, err := ipc.Dial(l.profile)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Machine(ctx)
}

func (l lateDaemon) Certificate(ctx context.Context, key []byte) (*ipc.MachineCertificate, error) {
	d, err := ipc.Dial(l.profile)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Certificate(ctx, key)
}

func (l lateDaemon) Login(ctx context.Context, s api.LoginStart) (*api.LoginStarted, error) {
	d, err := ipc.Dial(l.profile)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Login(ctx, s)
}
