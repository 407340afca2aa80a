package start

import "syscall"

// limitFiles sets the soft limit, within the hard one.
func limitFiles(n uint64) {
	var r syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) != nil {
		return
	}
	r.Cur = min(n, r.Max)
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &r)
}

// set sets the limit. Where it cannot be, the program begins with the old one, as with pam_limits(8); that a hard one
// could not be raised is in the daemon's log.
func (l Limit) set() {
	_ = syscall.Setrlimit(l.Resource, &syscall.Rlimit{Cur: l.Soft, Max: l.Hard})
}
