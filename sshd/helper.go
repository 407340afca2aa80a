package sshd

import (
	"lanyard/sshd/forward"
	"lanyard/sshd/session"
	"lanyard/sshd/session/start"
	"lanyard/sshd/sftp"
)

// HelperMain runs the helpers that sessions start, which become the target user first. args is what follows Config.Helper in argv.
// It must be called before anything else in main: handled is false when args are not for it.
func HelperMain(args []string) (handled bool, exit int) {
	start.Become() // before anything else
	switch {
	case len(args) == 0:
		return false, 0
	case args[0] == start.SignalVerb:
		return true, start.SignalMain(args[1:])
	case args[0] == sftp.Verb:
		start.Bounds()
		return true, sftp.Main(args[1:])
	case args[0] == forward.Verb:
		return true, forward.WorkerMain()
	case args[0] == session.StartVerb:
		return true, session.StartMain(args[1:])
	}
	return false, 0
}
