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
