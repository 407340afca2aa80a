//go:build unix

package session

import "os"

// givePTY makes the terminal the account's, which takes root; without, it is ours and the account's already.
func (s *Session) givePTY() error {
	if os.Geteuid() != 0 {
		return nil
	}
	return s.pty.Give(s.login.Account.Uid, s.login.Account.Gid)
}
