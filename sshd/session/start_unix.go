//go:build unix

package session

import (
	"lanyard/platform/spawn"
	"lanyard/sshd/session/start"
)

// StartVerb is the name in argv of the helper that goes home and becomes the program, see package start.
const StartVerb = start.Verb

// StartMain is that helper.
func StartMain(args []string) (exit int) { return start.Main(args) }

// launch makes c begin in the account's home. File transfer is a helper itself: it goes home alone.
func (s *Session) launch(c spawn.Command, what string) spawn.Command {
	c.Becomes = start.Becomes(c.Account.Uid, c.Account.Gid, c.Account.Groups)
	c.Signals = append(s.login.Starter[:len(s.login.Starter):len(s.login.Starter)], start.SignalVerb)
	if what == "sftp" {
		o := start.Options{Umask: s.plan.Umask, Limits: s.plan.Limits}
		c.Env = append(c.Env, start.Variable+"="+o.String())
		return c
	}
	o := start.Options{
		Umask: s.plan.Umask, Files: s.plan.Files, Limits: s.plan.Limits, Hold: s.plan.Hold, Keyring: s.plan.Keyring, Motd: s.plan.Motd, Last: s.plan.Last,
		RC: true,
	}
	s.mu.Lock()
	if s.x11 != nil {
		o.X11, o.Xauth = s.x11.Protocol+" "+s.x11.Cookie, xauth()
	}
	s.mu.Unlock()
	c.Argv = start.Argv(s.login.Starter, c.Account.Home, c.Path, c.Argv)
	c.Path = s.login.Starter[0]
	c.Env = append(c.Env, start.Variable+"="+o.String())
	return c
}
