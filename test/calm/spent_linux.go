package calm

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"
)

// spending reads proc_stat(5), whose unit is a hundredth of a second.
func spending() (s spent) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return spent{}
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	const idle, iowait, steal = 4, 5, 8
	for i, f := range bytes.Fields(line) {
		if i == 0 || i > steal { // what follows is counted as user, too
			continue
		}
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return spent{}
		}
		s.all += time.Duration(n) * 10 * time.Millisecond
		if i != idle && i != iowait {
			s.used += time.Duration(n) * 10 * time.Millisecond
		}
	}
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var r syscall.Rusage
		if syscall.Getrusage(who, &r) != nil {
			return spent{}
		}
		s.own += time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	return s
}
