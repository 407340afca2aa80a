// Package spawn starts processes for an account and keeps track of everything they start in turn.
//
// A Scope is all processes of one session, or of one of its channels. Killing it reaches what has left the process
// group, the terminal and the parent (setsid, nohup, daemons), which an ordinary hang-up is meant to spare.
package spawn

import (
	"errors"
	"os"

	"lanyard/platform/accounts"
	"lanyard/platform/pty"
)

// Command is a process to start. Its environment is Env and nothing else. It starts in "/": until Path runs, this
// whole program waits for the new process (vfork(2)), so nothing before may touch a file system of the account's choice.
// On Windows, where that is no danger, it starts in the account's home.
type Command struct {
	Path string // absolute
	Argv []string
	Env  []string
	// Account whose rights it has. Without root it must be the caller's own.
	Account accounts.Account
	// Files are its standard input, output and error; ignored with a PTY.
	Files [3]*os.File
	PTY   *pty.PTY // becomes its controlling terminal
	Hold  *os.File // its descriptor 3; nil: there is none. Unix only
	// Becomes is a variable of the environment by which Path, a program of ours, takes on the account's rights itself, as
	// its first act. "": it begins with them, and the account can stop it before, when this whole program waits for it. Unix
	// only.
	Becomes string
	// Signals is the program, and how its arguments begin, that sends a signal with the rights that Becomes says: the
	// signal's number and the process group follow. nil: a shell does. Unix only.
	Signals []string
	// Settled, unless nil, closes when nobody uses the number of the process any more: until then no other gets it, though
	// this one may have ended. Unix only.
	Settled <-chan struct{}
}

// Exit is how a process ended: with a status, or by a signal (RFC 4254 §6.10 names, without "SIG").
type Exit struct {
	Status int
	Signal string
	Core   bool
}

// ErrAccount says that this process cannot act for the account.
var ErrAccount = errors.New("Lanyard does not run as root here, so it can serve its own account only")

// ErrKilled says that the scope has been killed; nothing starts in it any more.
var ErrKilled = errors.New("the session has ended")

// MarkerName is the environment variable that marks the processes of a session, ChannelMarkerName that of one of
// its channels.
const (
	MarkerName        = "LANYARD_SESSION"
	ChannelMarkerName = "LANYARD_CHANNEL"
)
