package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
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
	"lanyard/service/doctor"
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

// usagePrepare is the form of prepare's arguments.
const usagePrepare = "usage: lanyard openssh prepare PROFILE PEER [SECONDS [ACCOUNTS]] [ADDRESS]"

// wish is what an ssh wants of prepare.
type wish struct {
	profile, peer string
	maxAge        time.Duration // of the token; 0: the default
	accounts      string        // of this machine, with commas between, that the other end lets in without a sign-in
	to            string        // overlay address of the other end; empty: not told
}

func parseWish(args []string) (w wish, ok bool) {
	if n := len(args); n > 2 {
		if _, err := netip.ParseAddr(args[n-1]); err == nil {
			w.to, args = args[n-1], args[:n-1]
		}
	}
	if len(args) < 2 || len(args) > 4 || api.CheckName(args[0]) != nil || api.CheckName(args[1]) != nil {
		return w, false
	}
	w.profile, w.peer = args[0], args[1]
	if len(args) >= 3 {
		sec, err := strconv.Atoi(args[2])
		if err != nil || sec < 0 {
			return w, false
		}
		w.maxAge = time.Duration(sec) * time.Second
	}
	if len(args) == 4 {
		w.accounts = args[3]
	}
	return w, true
}

// prepare PROFILE PEER [MAX-AGE-SECONDS [ACCOUNTS]] [ADDRESS] is the helper of Match exec: PEER is this machine, ACCOUNTS
// are those here that the machine at ADDRESS lets in without a sign-in. When the certificate is good to offer, it reads one small file and is done. Its exit status gates nothing: strict host key checking and the
// certificate stand in blocks of their own, so that ssh never falls back to asking for trust or for a password.
func prepare(args []string) int {
	w, ok := parseWish(args)
	if !ok {
		fmt.Fprintln(os.Stderr, usagePrepare)
		return 2
	}
	if login.Fresh(paths.For(w.profile), w.peer, w.maxAge, time.Now()) {
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return w.slowly(ctx)
}

func (w wish) slowly(ctx context.Context) int {
	say := func(line string) { fmt.Fprintln(os.Stderr, line) }
	service := lateDaemon{w.profile}
	cfg := loginConfig(w.profile, service, say)
	// Once per refresh, not per ssh: what a person's own configuration takes away from the checks.
	for _, weak := range sshconfig.Weakened(cfg.Paths) {
		say("Lanyard: " + weak.String())
	}
	terminal := hasTerminal()
	if w.accounts != "" {
		if cfg.SignedIn(w.peer) && cfg.Ensure(ctx, w.peer, w.maxAge, false) == nil {
			startKeeper(w.profile, w.peer)
			return 0 // a person's certificate is preferred
		}
		err := cfg.EnsureMachine(ctx, service, w.peer, w.accounts)
		if err == nil {
			return 0
		}
		if !errors.Is(err, login.ErrNoMachineRule) && !terminal {
			say(oneLine(err)) // it may be an account of Ansible's or a CI's: nobody is asked for those
			return 1
		}
	}
	defer startKeeper(w.profile, w.peer)
	err := cfg.Ensure(ctx, w.peer, w.maxAge, terminal)
	// A tab that nobody asked for is never opened: who is not at a terminal is asked by their tray.
	if needsPerson(err) && !terminal && os.Getenv(quietEnv) == "" && !login.MachineAccount(ctx, service) {
		err = w.askAtDesk(ctx, cfg, err)
	}
	if err == nil {
		return 0
	}
	say(oneLine(err))
	return 1
}

// quietEnv is set by programs that only look: nobody is asked to sign in for them.
const quietEnv = doctor.QuietEnv

// needsPerson reports whether a sign-in is all that is missing.
func needsPerson(err error) bool {
	var why *reason.Error
	return errors.As(err, &why) && (why.Code == reason.NotLoggedIn || why.Code == reason.LoginExpired || why.Code == reason.Revoked)
}

// looks is how often a waiting ssh looks whether somebody signed in by another way than its tray.
const looks = 200 * time.Millisecond

// askAtDesk waits for a sign-in that is under way, or has the person's tray ask for one. missing is the refusal where
// there is no tray, or no answer.
func (w wish) askAtDesk(ctx context.Context, cfg login.Config, missing error) error {
	if good, err := cfg.Await(ctx, w.peer, w.maxAge); err != nil || good {
		return err
	}
	d, err := ipc.Dial(w.profile)
	if err != nil {
		return missing
	}
	defer d.Close()
	asking, stop := context.WithCancel(ctx)
	defer stop()
	answer := make(chan error, 1)
	go func() { answer <- d.Ask(asking, ipc.AskRequest{To: w.to}) }()
	tick := time.NewTicker(looks)
	defer tick.Stop()
	for said := false; ; {
		select {
		case err := <-answer:
			if err != nil {
				return missing
			}
			return cfg.Ensure(ctx, w.peer, w.maxAge, false)
		case <-tick.C:
			if login.Fresh(cfg.Paths, w.peer, w.maxAge, time.Now()) {
				return nil
			}
			if !said {
				cfg.Say("Lanyard: waiting for you to sign in: click Log in in the notification, or run 'lanyard login'.")
				said = true
			}
		}
	}
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
