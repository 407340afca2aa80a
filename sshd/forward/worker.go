package forward

import (
	"errors"
	"net/netip"
	"time"
)

// Verb is the name in argv of the worker: the process of the account that opens sockets for its forwards.
const Verb = "session-sockets"

// workerTime is how long the worker may take for anything but a connection over TCP.
const workerTime = 5 * time.Second

// ErrGone says that the worker has ended, with its connection.
var ErrGone = errors.New("the connection is ending")

// Operations of the worker.
const (
	opListen     = "listen"      // Addr
	opListenUnix = "listen-unix" // Path
	opRemove     = "remove"      // Path of a socket that listen-unix made
	opDial       = "dial"        // Addr
	opDialUnix   = "dial-unix"   // Path
	opAgent      = "agent"       // answers with a path
	opX11        = "x11"         // answers with a display number and one or two sockets
)

// order is what the daemon asks of the worker, a line of JSON on a socket between them.
type order struct {
	ID   uint64         `json:"id"`
	Op   string         `json:"op"`
	Path []byte         `json:"path,omitempty"` // in any encoding
	Addr netip.AddrPort `json:"addr,omitzero"`
}

// answer is the worker's, also a line; its files travel beside it (unix(7), SCM_RIGHTS).
type answer struct {
	ID     uint64 `json:"id"`
	Error  string `json:"error,omitempty"`
	Path   string `json:"path,omitempty"`
	Number int    `json:"number,omitempty"`
	Files  int    `json:"files,omitempty"`
}

// Display numbers for X11, as OpenSSH chooses them: those below belong to real screens.
const (
	firstDisplay = 10
	lastDisplay  = firstDisplay + 1000
	x11Port      = 6000
)
