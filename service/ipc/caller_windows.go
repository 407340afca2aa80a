package ipc

import (
	"golang.org/x/sys/windows"

	"lanyard/platform/peercred"
)

func callerID(c peercred.Cred) string { return c.SID }

// isAdmin: the system itself, an elevated administrator, and the user whose own daemon this is.
func isAdmin(c peercred.Cred) bool {
	sid, err := windows.StringToSid(c.SID)
	if err != nil {
		return false
	}
	if sid.IsWellKnown(windows.WinLocalSystemSid) {
		return true
	}
	own := windows.GetCurrentProcessToken()
	if me, err := own.GetTokenUser(); err == nil && me.User.Sid.Equals(sid) && !own.IsElevated() {
		return true
	}
	proc, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(c.PID))
	if err != nil {
		return false
	}
	defer windows.CloseHandle(proc)
	var tok windows.Token
	if windows.OpenProcessToken(proc, windows.TOKEN_QUERY, &tok) != nil {
		return false
	}
	defer tok.Close()
	// The same user still: a process number that was given away since belongs to somebody else.
	u, err := tok.GetTokenUser()
	return err == nil && u.User.Sid.Equals(sid) && tok.IsElevated()
}

func accountName(c peercred.Cred) string {
	sid, err := windows.StringToSid(c.SID)
	if err != nil {
		return c.SID
	}
	name, domain, _, err := sid.LookupAccount("")
	if err != nil {
		return c.SID
	}
	return domain + `\` + name
}
