// Package utmp records terminal sessions where who(1), last(1) and lastlog(8) look: utmp(5), wtmp and lastlog, each only
// where the system keeps such a file.
package utmp

import "time"

// Entry is a session on a terminal.
type Entry struct {
	Account string
	Uid     uint32
	Pid     int
	Line    string // "pts/3"
	Host    string // where the person comes from
	Addr    []byte // its IP address, 4 or 16 bytes
	Time    time.Time
}

// Last is an earlier login.
type Last struct {
	Time time.Time
	Line string
	Host string
}
