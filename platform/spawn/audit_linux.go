package spawn

import (
	"os"
	"runtime"
	"strconv"

	"lanyard/platform/accounts"
)

// auditUser is whom the kernel shall hold responsible for a process (pam_loginuid(8)).
func auditUser(a accounts.Account) uint32 {
	if os.Geteuid() == 0 {
		return a.Uid
	}
	return uint32(os.Getuid())
}

// inAuditSession runs f in a thread with a new audit session of the user (/proc/PID/loginuid and sessionid), which the
// processes that f starts have too, and theirs for ever: only CAP_AUDIT_CONTROL changes it once it is set. session is
// "" where there is none to be had: in a kernel without audit, or without root's rights in a session that has one.
func inAuditSession(uid uint32, f func(session string)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread, which is in the session too, ends with the goroutine
		const self = "/proc/thread-self/"
		if writeOnce(self+"loginuid", strconv.FormatUint(uint64(uid), 10)) != nil {
			f("")
			return
		}
		session, err := os.ReadFile(self + "sessionid")
		if err != nil || string(session) == unsetSession {
			session = nil
		}
		f(string(session))
	}()
	<-done
}

// unsetSession is the number of those who are in no audit session.
const unsetSession = "4294967295"

// writeOnce writes without creating a file.
func writeOnce(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	f.Close()
	return err
}
