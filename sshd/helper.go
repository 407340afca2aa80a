package sshd

import "lanyard/sshd/sftp"

// HelperMain runs the helpers that sessions start as the target user. args is what follows Config.Helper in argv.
// It must be called before anything else in main: handled is false when args are not for it.
func HelperMain(args []string) (handled bool, exit int) {
	if len(args) == 0 || args[0] != sftp.Verb {
		return false, 0
	}
	return true, sftp.Main(args[1:])
}
