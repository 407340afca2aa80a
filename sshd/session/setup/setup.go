// Package setup gives a session what the machine gives to those who come by its own sshd: the variables, limits and
// umask of the PAM configuration, a session of the login manager, a record for who(1), the message of the day.
//
// A Plan is what is known before the program starts. Settle does what needs its process: the program waits for it,
// see session/start.
package setup

import (
	"log/slog"
	"net/netip"

	"lanyard/platform/accounts"
	"lanyard/platform/spawn"
)

// Ask is a program that is about to start.
type Ask struct {
	Account accounts.Account
	From    netip.Addr // where the person comes from
	TTY     string     // path of the terminal, or ""
	Login   bool       // a login shell on a terminal: somebody reads what is shown
	Log     *slog.Logger
}

// Process is one that waits to be settled.
type Process struct {
	Pid   int
	Scope *spawn.Scope
}

const defaultUmask = 0o22
