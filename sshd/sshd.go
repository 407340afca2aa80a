// Package sshd is Lanyard's SSH server, as a library.
//
// It knows neither the tunnel nor HTTP: the daemon hands it listeners, a function that says which peer a
// connection comes from, the network map in force, and a sink for audit events. Everyone who connects proves who
// they are with a key-bound ID token (sshd/token); what they may do is mgmt/policy's decision, asked at login,
// at every new channel and whenever the map changes. What is no longer allowed ends at once, with all its
// processes and with the reason on the person's screen.
//
//	Serve ── accept ── handshake and authentication (auth.go) ── connection (conn.go) ─┬─ sshd/session: shell, exec, PTY
//	                                                                                  ├─ sshd/sftp: file transfer (files.go)
//	                                                                                  └─ sshd/forward: -L
package sshd

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/policy"
	"lanyard/platform/accounts"
	"lanyard/sshd/token"
)

// State is what is in force: the daemon makes a new one for each map and never changes it afterwards.
type State struct {
	Trust   *token.Trust
	Map     *api.Map
	Enabled bool // SSH is switched on on this machine
	// Limits are the machine's own; nil: none. Those about issuers are Trust's.
	Limits *policy.Limits
}

// Limits bound what strangers can make the server do. Zero values mean the defaults.
type Limits struct {
	LoginGrace time.Duration // from accept to authentication; default 30 s
	AuthTries  int           // per connection; default 6
	// Pending connections that have not authenticated, per source peer and altogether; default 32 and 256.
	PendingPerSource, Pending int
	Channels                  int // open at a time, per connection; default 256
	// Refusals that a source may have before its next handshakes wait, longer with each, a tenth of LoginGrace at most;
	// ten a minute are forgiven, and all of them with a success. Default 10; negative: nothing waits.
	Refusals int
	// Prompts that wait for a person to sign in, per source peer and altogether; default 4 and 64.
	PromptsPerSource, Prompts int
	// Tick is how often time limits (idle, longest session, login lifetime, age of the map) are looked at; default 1 s.
	Tick time.Duration
	// Alive is how long a client may be silent before it is asked for a sign of life (keepalive@openssh.com, as sshd's
	// ClientAliveInterval), and AliveMax how often in a row it may leave that unanswered before the connection is taken
	// for dead; default 1 min and 30: a laptop may sleep for half an hour. Negative: never.
	Alive    time.Duration
	AliveMax int
}

// Config is what a Server needs. HostKeys, Source, State, Audit and Helper must be set.
type Config struct {
	HostKeys []ssh.Signer
	// Self is this machine's peer id.
	Self func() string
	// Source says which peer a connection comes from, by its overlay address and port. False: it did not come
	// through the tunnel and is closed at once.
	Source func(remote netip.AddrPort) (api.Peer, bool)
	// State returns what is in force now. Before the first map it returns nil or a State without Map.
	State func() *State
	// UnknownKey is told that a token names a key that its issuer does not have in the map; may be nil. It must not
	// wait: whoever asks may be anybody.
	UnknownKey func(issuer, kid string)
	// Accounts resolves an account; nil: accounts.Lookup.
	Accounts func(name string) (accounts.Account, error)
	// Audit records an event. An error of code audit-full refuses new sessions.
	Audit func(audit.Event) error
	// SignIn asks for a person to sign in for one session (keyboard-interactive), where a rule has prompts; nil: never.
	SignIn func(context.Context, SignInRequest) (*SignIn, error)
	// Helper is the argv prefix of this program's session helper, as in {"/usr/bin/lanyard", "openssh"}. File
	// transfer runs as the target user in a process of "Helper... session-files", and programs begin as "Starter...
	// session-program", see HelperMain. Starter is Helper when nil.
	Helper, Starter []string
	Log             *slog.Logger
	Now             func() time.Time // nil: time.Now
	Limits          Limits

	ends endTimes // zero: withinASecond
}

// SessionInfo describes an authenticated connection.
type SessionInfo struct {
	ID         string
	Source     api.Peer
	SourceAddr netip.AddrPort
	Ref        api.UserRef
	User       string // for people: email, name or subject
	LocalUser  string
	Rule       string // id
	RuleName   string
	Since      time.Time
	LastActive time.Time
	Channels   []string // "shell", "exec", "sftp", "forward-local"
}

func (c *Config) fill() error {
	switch {
	case len(c.HostKeys) == 0:
		return errors.New("the SSH server has no host key")
	case c.Source == nil, c.State == nil, c.Audit == nil, c.Self == nil:
		return errors.New("the SSH server needs Source, State, Audit and Self")
	case len(c.Helper) == 0:
		return errors.New("the SSH server does not know its session helper")
	}
	if c.Starter == nil {
		c.Starter = c.Helper
	}
	if c.Accounts == nil {
		c.Accounts = accounts.Lookup
	}
	if c.Log == nil {
		c.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	setDefault(&c.ends, withinASecond())
	l := &c.Limits
	setDefault(&l.LoginGrace, 30*time.Second)
	setDefault(&l.AuthTries, 6)
	setDefault(&l.PendingPerSource, 32)
	setDefault(&l.Pending, 256)
	setDefault(&l.Channels, 256)
	setDefault(&l.Refusals, 10)
	setDefault(&l.PromptsPerSource, 4)
	setDefault(&l.Prompts, 64)
	setDefault(&l.Tick, time.Second)
	setDefault(&l.Alive, time.Minute)
	setDefault(&l.AliveMax, 30)
	return nil
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}
