// Package session serves SSH's session channels (RFC 4254 §6): a shell, a command or file transfer, with or without
// a terminal, as the local user. It tries to be indistinguishable from OpenSSH's.
package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
	"lanyard/platform/accounts"
	"lanyard/platform/pty"
	"lanyard/platform/spawn"
	"lanyard/sshd/flow"
	"lanyard/sshd/session/setup"
	"lanyard/sshd/sftp"
)

// Login is what the channels of one connection share.
type Login struct {
	Account accounts.Account
	Env     []string     // SSH_CONNECTION and the like, added to what the account gets
	Helper  []string     // argv prefix of the session helper
	Starter []string     // and of that which programs begin as
	Scope   *spawn.Scope // the channel's
	System  *setup.System
	From    netip.Addr // where the person comes from
	// Can says what the decision in force grants. It may be called under a lock.
	Can func(api.Capability) bool
	// Refused records that something was asked for that is not granted.
	Refused func(what, command string, cap api.Capability)
	// Begin records that a program is about to start; the function it returns, that it ended. On an error nothing
	// starts.
	Begin func(what, command string) (func(Result), error)
	// Agent makes the socket through which programs reach the client's agent. It asks for the capability itself.
	Agent func() (path string, err error)
	// X11 listens for programs that draw on the client's screen, for one only where single says so, until end is called.
	X11 func(single bool) (display int, end func(), err error)
	// Files says which files may be transferred; like Can, it may be called under a lock.
	Files func() []sftp.Grant
	// FileEvent records what was done with a file; FilesEnd, that nothing more will be.
	FileEvent func(sftp.Event)
	FilesEnd  func()
	Moved     func() // called whenever bytes move
	Log       *slog.Logger
	// Life ends when the server closes: processes that outlived their connection are no longer waited for.
	Life context.Context
	Go   func(func()) // runs a goroutine that the server waits for
	// Tell is how long a client may take to read why the channel ends; a stopped one never does.
	Tell time.Duration
}

// Result is how a program ended.
type Result struct {
	Exit    *spawn.Exit // nil: the connection ended first
	In, Out int64       // bytes
	Reason  reason.Code // why the channel was ended; "" when it was not, or the whole connection was
}

// Session is one channel.
type Session struct {
	login  *Login
	ch     ssh.Channel
	meter  flow.Meter
	closed chan struct{} // the client closed the channel, or the connection is gone

	// writing serialises stderr and the channel's end: x/crypto/ssh builds packets of one stream in one buffer.
	writing chan struct{}

	// ending closes when a decision ends the channel: no exit status is sent then.
	ending chan struct{}
	once   sync.Once // closes ending

	// mu guards the rest. Nobody holds it while the client has to do something, or while a program starts: what
	// ends a session waits for it. Only Serve's goroutine writes what, env, term and pty.
	mu   sync.Mutex
	what string           // "" before a program was asked for
	uses []api.Capability // what the channel is there by
	// files are what the file transfer was started with.
	files []sftp.Grant
	lost  reason.Code // why a decision ended this channel alone
	env   []string
	auth  []string // variables for agent and X11
	x11   *x11Request
	endX  func() // ends X11's listeners
	term  string
	pty   *pty.PTY
	proc  *spawn.Process
	plan  *setup.Plan // only run and finish use it
	end   func(Result)
}

// New makes a session of an accepted channel.
func New(l *Login, ch ssh.Channel) *Session {
	s := &Session{
		login: l, ch: ch, closed: make(chan struct{}), ending: make(chan struct{}), writing: make(chan struct{}, 1),
	}
	s.meter.Moved = l.Moved
	return s
}

// What is "shell", "exec", "sftp" or empty.
func (s *Session) What() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isEnding() {
		return ""
	}
	return s.what
}

func (s *Session) isEnding() bool {
	select {
	case <-s.ending:
		return true
	default:
		return false
	}
}

// Serve answers the client's requests until the channel closes. Then what runs is hung up.
func (s *Session) Serve(reqs <-chan *ssh.Request) {
	for r := range reqs {
		ok := s.request(r)
		if r.WantReply && ok != replied {
			_ = r.Reply(ok == yes, nil)
		}
	}
	close(s.closed)
	s.over(s.result(nil))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.endX != nil {
		s.endX()
	}
	if s.proc != nil {
		s.proc.Hangup()
	}
	if s.pty != nil {
		s.pty.Close() // a program that ignores the hang-up reads an end and can write no more
	}
	if s.proc == nil {
		s.login.Scope.Close()
	}
}

type answer int

const (
	no answer = iota
	yes
	replied
)

func answerOf(ok bool) answer {
	if ok {
		return yes
	}
	return no
}

func (s *Session) request(r *ssh.Request) answer {
	switch r.Type {
	case "env":
		return answerOf(s.setEnv(r.Payload))
	case "pty-req":
		return answerOf(s.openPTY(r.Payload))
	case "window-change":
		return answerOf(s.resize(r.Payload))
	case "break":
		return answerOf(s.sendBreak())
	case "signal":
		return answerOf(s.signal(r.Payload))
	case "auth-agent-req@openssh.com":
		return answerOf(s.forwardAgent())
	case "x11-req":
		return answerOf(s.forwardX11(r.Payload))
	case "shell":
		return s.program(r, "shell", "", api.CapShell)
	case "exec":
		command, err := parseString(r.Payload, maxCommand)
		if err != nil {
			return no
		}
		return s.program(r, "exec", command, api.CapExec)
	case "subsystem":
		name, err := parseString(r.Payload, maxTerm)
		if err != nil || name != "sftp" {
			return no
		}
		return s.program(r, "sftp", "", api.CapSFTPRead)
	}
	return no
}

func (s *Session) setEnv(payload []byte) bool {
	name, value, err := parseEnv(payload)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || len(s.env) >= maxVars || s.what != "" || !acceptEnv(name, value) {
		return false
	}
	s.env = append(s.env, name+"="+value)
	return true
}

func (s *Session) openPTY(payload []byte) bool {
	req, err := parsePTY(payload)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || s.pty != nil || s.what != "" {
		return false
	}
	if !s.login.Can(api.CapPTY) {
		s.login.Refused("pty", "", api.CapPTY)
		return false // the program goes on without one, as with OpenSSH's "restrict"
	}
	p, err := pty.Open(req.Size, req.Modes)
	if err != nil {
		s.login.Log.Error("no terminal", "err", err)
		return false
	}
	s.pty, s.term, s.uses = p, req.Term, append(s.uses, api.CapPTY)
	return true
}

func (s *Session) resize(payload []byte) bool {
	size, err := parseSize(payload)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || s.pty == nil {
		return false
	}
	return s.pty.Resize(size) == nil
}

// sendBreak is RFC 4335.
func (s *Session) sendBreak() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pty != nil && s.pty.Break() == nil
}

func (s *Session) signal(payload []byte) bool {
	name, err := parseString(payload, maxTerm)
	s.mu.Lock()
	proc := s.proc
	s.mu.Unlock()
	// Without the lock: it takes a process of the account, which the account may stop.
	return err == nil && proc != nil && proc.Signal(name) == nil
}

// program starts what the client asked for. A refusal is accepted first: OpenSSH's client shows what comes on
// stderr of an open channel, but of a refused request only "failed".
func (s *Session) program(r *ssh.Request, what, command string, need api.Capability) answer {
	s.mu.Lock()
	if s.what != "" || s.isEnding() {
		s.mu.Unlock()
		return no
	}
	s.what = what
	s.mu.Unlock()
	_ = r.Reply(true, nil)
	readOnly := what == "sftp" && !s.login.Can(api.CapSFTP)
	if what == "sftp" && !readOnly {
		need = api.CapSFTP
	}
	if !s.claim(need) {
		s.login.Refused(what, command, need)
		s.login.Go(func() { s.fail(reason.Capability.Line()) })
		return replied
	}
	var path string
	var argv []string
	if what == "sftp" {
		path, argv = sftp.Command(s.login.Helper, s.login.Account.Home, s.claimFiles())
	} else {
		path, argv = shellCommand(s.login.Account, command, what == "shell")
	}
	if err := s.start(what, command, path, argv); err != nil && !s.isEnding() {
		s.login.Log.Error("cannot start a program", "what", what, "err", err)
		line := "Lanyard: " + err.Error()
		if re := (*reason.Error)(nil); errors.As(err, &re) {
			line = re.Code.Line()
		}
		s.login.Go(func() { s.fail(line) })
	}
	return replied
}

// claim asks for a capability and notes that the channel uses it from now on: a review that comes later finds it.
func (s *Session) claim(k api.Capability) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.login.Can(k) {
		return false
	}
	s.uses = append(s.uses, k)
	return true
}

// claimFiles is claim for files.
func (s *Session) claimFiles() []sftp.Grant {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files = s.login.Files()
	return s.files
}

// keepsFiles reports whether all that file transfer was started with is granted still. The caller holds s.mu.
func (s *Session) keepsFiles() bool {
	if s.files == nil {
		return true
	}
	granted := s.login.Files()
	return !slices.ContainsFunc(s.files, func(g sftp.Grant) bool { return !sftp.Covers(granted, g) })
}

// Review ends the channel and its processes if it uses what is not granted any more. It returns at once.
func (s *Session) Review(has func(api.Capability) bool) {
	s.mu.Lock()
	kept := !slices.ContainsFunc(s.uses, func(k api.Capability) bool { return !has(k) }) && s.keepsFiles()
	if kept || s.isEnding() {
		s.mu.Unlock()
		return
	}
	s.lost = reason.Capability
	s.once.Do(func() { close(s.ending) })
	s.mu.Unlock()
	s.login.Log.Info("ended a channel", "reason", reason.Capability)
	s.login.Go(s.login.Scope.Kill)
	s.login.Go(func() { s.fail(reason.Capability.Line()) })
}

// fail tells the person why nothing runs, and closes the channel without a status: ssh then exits with 255.
func (s *Session) fail(line string) {
	done := make(chan struct{})
	s.login.Go(func() { // ends at the latest with the channel
		defer close(done)
		_, _ = s.writeStderr([]byte(s.screen(line)))
	})
	select {
	case <-done:
	case <-time.After(s.login.Tell):
	}
	if s.lock(s.login.Tell) {
		defer s.unlock()
	}
	_ = s.ch.Close()
}

// Ending says that the session is about to be ended: when its program dies, no exit status is sent and the channel
// stays open for the reason.
func (s *Session) Ending() { s.once.Do(func() { close(s.ending) }) }

// End shows line, the reason why the session ends, on the person's stderr. It returns when the client has it, at the
// latest when the connection is closed: who ends the session does not wait for longer than it likes.
func (s *Session) End(line string) {
	s.Ending()
	_, _ = s.writeStderr([]byte(s.screen(line)))
}

// screen is how the line looks best on the person's screen.
func (s *Session) screen(line string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pty != nil {
		// The terminal is raw, and the cursor may be anywhere.
		return "\r\n" + line + "\r\n"
	}
	return line + "\n"
}

func (s *Session) writeStderr(b []byte) (int, error) {
	select {
	case s.writing <- struct{}{}:
	case <-s.closed:
		return 0, context.Canceled
	}
	defer s.unlock()
	return s.ch.Stderr().Write(b)
}

// lock takes the right to write, or gives up: then the channel's end does not wait for a client that has stopped.
func (s *Session) lock(wait time.Duration) bool {
	select {
	case s.writing <- struct{}{}:
		return true
	default:
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case s.writing <- struct{}{}:
		return true
	case <-s.closed:
	case <-t.C:
	}
	return false
}

func (s *Session) unlock() { <-s.writing }

type stderrWriter struct{ *Session }

func (w stderrWriter) Write(b []byte) (int, error) { return w.writeStderr(b) }

// environment is the client's, the account's, the system's, the connection's and the terminal's, in this order: as with
// sshd, what the machine says counts more than what the client asks for.
func (s *Session) environment(system []string) []string {
	env := append(append(timezone(), s.env...), baseEnv(s.login.Account)...)
	env = append(append(env, system...), s.login.Env...)
	if s.pty != nil {
		env = append(env, ttyEnv(s.term, s.pty.Name())...)
	}
	return unique(append(env, s.auth...))
}

// unique keeps the last of each name: programs differ in which one they take.
func unique(env []string) []string {
	at := make(map[string]int, len(env))
	out := env[:0:0]
	for _, v := range env {
		name, _, _ := strings.Cut(v, "=")
		if i, ok := at[name]; ok {
			out[i] = v
			continue
		}
		at[name] = len(out)
		out = append(out, v)
	}
	return out
}

func (s *Session) String() string { return fmt.Sprintf("session channel (%s)", s.What()) }
