// Package handover lets a new process of the service take the place of an old one while SSH sessions go on, as when a
// package is upgraded.
//
//	old: Offer ── Wait ◄── hello ── Take :new      which release, which protocol
//	old: Give ── interface, listeners ──► :new     from here on the new one is the service
//	old: Linger ◄── Attach :new                    until the last session of the old one ends
//
// The keys and counters of an SSH connection cannot leave their process, so the old process stays, out of the way, and
// serves its connections to their end. It keeps nothing on disk any more: the new process tells it every network map,
// and it decides its sessions again by it; its audit events go to the new one, which stores them. When nobody attaches
// for a while, the old process ends its sessions, since no revocation would reach it.
package handover

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/platform/peercred"
	"lanyard/service/ipc"
)

// Protocol is raised when an old process could not go on beside a new one: another form of these messages, a map whose
// rules the old one would read differently, a session helper with another command line.
const Protocol = 1

// Bounds.
const (
	askTime    = 10 * time.Second // for each step of taking over
	replyTime  = 3 * time.Second  // for a lingering process to decide its sessions again
	orphanTime = 20 * time.Second // without a new process
	maxMessage = 64 << 20         // bytes: a map
	maxEvents  = 4096             // kept while no new process is attached
)

// ErrNobody says that no process offers to be replaced.
var ErrNobody = errors.New("no process is leaving")

// IncompatibleError says that the old process ends its sessions instead, and why.
type IncompatibleError struct{ Why string }

func (e *IncompatibleError) Error() string { return e.Why }

// hello is what the new process says of itself, answer the old one's reply.
type hello struct {
	Protocol int    `json:"protocol"`
	Release  string `json:"release"`
}

type answer struct {
	Refused string `json:"refused,omitempty"`
	Release string `json:"release"`
	Tunnel  bool   `json:"tunnel,omitempty"` // the next message carries it
}

// note travels between the new process and a lingering one, a line of JSON each.
type note struct {
	// From the new process.
	Seq     uint64   `json:"seq,omitempty"` // of a note that wants Done
	Map     *api.Map `json:"map,omitempty"`
	Enabled bool     `json:"enabled,omitempty"` // SSH is switched on
	End     string   `json:"end,omitempty"`     // a session's id
	Stop    bool     `json:"stop,omitempty"`
	Stored  uint64   `json:"stored,omitempty"` // events up to this number are on disk
	// From the lingering one.
	Done     uint64        `json:"done,omitempty"`
	Ended    []string      `json:"ended,omitempty"`
	Sessions []ipc.Session `json:"sessions,omitempty"`
	Listed   bool          `json:"listed,omitempty"` // Sessions is the whole list
	Owed     []string      `json:"owed,omitempty"`   // sessions of which there are events to come, in the first note
	Event    *audit.Event  `json:"event,omitempty"`
	Number   uint64        `json:"number,omitempty"` // of the event
}

// Socket is where a leaving process of the profile waits to be replaced.
func Socket(run, profile string) string { return filepath.Join(run, profile+".leaving.sock") }

func lingerSocket(run, profile string) string {
	return filepath.Join(run, fmt.Sprintf("%s.old-%d.sock", profile, os.Getpid()))
}

func lingerSockets(run, profile string) []string {
	all, _ := filepath.Glob(filepath.Join(run, profile+".old-*.sock")) // the pattern is a valid one
	return all
}

// ours refuses a process of another account: who may write in the folder could have put up a socket of their own.
func ours(c net.Conn) error {
	cred, err := peercred.Of(c)
	if err != nil {
		return err
	}
	if int(cred.UID) != os.Geteuid() {
		return fmt.Errorf("the process at the other end runs as uid %d", cred.UID)
	}
	return nil
}

// listen opens a socket for this account only, in place of one that a killed process left.
func listen(network, path string) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix(network, &net.UnixAddr{Name: path, Net: network})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}
