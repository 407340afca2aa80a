// Package daemon wires one machine's parts together: the network map, the tunnel, the SSH server, the audit spool,
// OpenSSH's configuration and the local socket. It is the only place that knows all of them, and holds no logic of
// its own but their order.
//
//	management server ── netmap ── apply ─┬─ sshd: sessions are decided again
//	                                      ├─ tunnel: peers, who may open overlay:22
//	                                      └─ sshconfig: drop-in and known_hosts
//	sshd ── spool ── netmap ── management server
//	CLI, tray ── ipc ── up, down, status
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"lanyard/mgmt/api/audit"
	"lanyard/platform/paths"
	"lanyard/service/asks"
	"lanyard/service/handover"
	"lanyard/service/ipc"
	"lanyard/service/machine"
	"lanyard/service/managed"
	"lanyard/service/spool"
	"lanyard/service/tunnel"
)

// Options say how a daemon runs.
type Options struct {
	Profile string
	// Userspace: netstack in place of a network interface, whatever the settings say.
	Userspace  bool
	ListenPort uint16 // UDP; 0: the tunnel's default
	Program    string // absolute path of lanyard
	Release    string
	// Ready is called once the socket answers; may be nil.
	Ready func()
	// Leave yields when another process is about to take this one's place: it then gets the tunnel, and this one serves
	// its open sessions to their end (package handover). Nil: never.
	Leave <-chan struct{}
	// Leaving is called when this process can be replaced; may be nil.
	Leaving func()
	Log     *slog.Logger
	Now     func() time.Time // nil: time.Now
}

// Daemon runs.
type Daemon struct {
	opt     Options
	helper  string // see helperOf
	paths   paths.Paths
	log     *slog.Logger
	now     func() time.Time
	started time.Time

	machine *machine.Machine
	spool   *spool.Spool
	ipc     *ipc.Server
	asks    *asks.Board
	taken   *tunnel.Handover                // of the process that this one replaced, until the tunnel is opened
	old     *handover.Old                   // processes that this one replaced and that still serve sessions
	heir    atomic.Pointer[handover.Linger] // takes the audit events once this process was replaced

	recording sync.RWMutex // held for writing while heir is set

	busy sync.Mutex // one up, down or removal at a time

	managed    *managed.Settings // nil: they cannot be used, and managedErr says why
	managedErr error
	alone      context.CancelFunc // ends joinAlone

	mu      sync.Mutex    // guards what follows
	joinErr error         // of the last try to join alone
	net     *network      // nil while down or not enrolled
	changed chan struct{} // closed at the next change of status

	wg sync.WaitGroup
}

// Run opens a daemon and runs it until ctx ends.
func Run(ctx context.Context, opt Options) error {
	d, err := Open(opt)
	if err != nil {
		return err
	}
	if opt.Ready != nil {
		opt.Ready()
	}
	select {
	case <-ctx.Done():
	case <-opt.Leave:
		return d.leave(ctx)
	}
	d.log.Info("the service is stopping")
	return d.Close()
}

// Open brings everything up that does not need the management server. When the tunnel cannot be opened the daemon
// runs nevertheless, and its status says why.
func Open(opt Options) (*Daemon, error) {
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	helper, why := helperOf(opt.Program)
	if why != "" {
		opt.Log.Info("connections and sessions begin more slowly, with the whole program in place of its helper", "why", why)
	}
	d := &Daemon{opt: opt, helper: helper, paths: paths.For(opt.Profile), log: opt.Log, now: opt.Now, asks: asks.New(opt.Now), changed: make(chan struct{})}
	d.started = d.now()
	if err := d.folder(); err != nil {
		return nil, err
	}
	var err error
	if d.taken, err = d.takeOver(); err != nil {
		return nil, err
	}
	if d.machine, err = d.openMachine(); err != nil {
		return nil, errors.Join(err, d.closeTaken())
	}
	st := d.machine.State()
	d.old = handover.Attach(d.paths.Run, opt.Profile, d.notify, d.log)
	d.spool, err = spool.Open(spool.Config{
		Dir: d.paths.Spool, Limit: st.SpoolLimit, Log: d.log, Now: d.now,
		Peer: func() string { return d.machine.State().PeerID }, Lives: d.old.Serves,
	})
	if err != nil {
		d.old.Store(nil)
		d.old.Detach()
		return nil, errors.Join(err, d.machine.Close(), d.closeTaken())
	}
	d.old.Store(d.spool.Append)
	l, err := ipc.Listen(d.paths.Socket, d.paths.System)
	if err != nil {
		d.old.Detach()
		return nil, errors.Join(err, d.spool.Close(), d.machine.Close(), d.closeTaken())
	}
	d.readManaged()
	if st = d.machine.State(); st.Enrolled() && !st.Down {
		d.busy.Lock() // a server that says at once that it removed this machine is heard once the network is known here
		d.setNetwork(d.openNetwork())
		d.busy.Unlock()
	}
	if err := d.closeTaken(); err != nil { // nothing wanted it
		d.log.Warn("what the old service handed over was not closed", "err", err)
	}
	d.ipc = ipc.Serve(l, d.calls(), d.log)
	ctx, cancel := context.WithCancel(context.Background())
	d.alone = cancel
	d.wg.Go(func() { d.joinAlone(ctx) })
	return d, nil
}

// Close ends sessions, tunnel and calls, and waits for all of them. Undelivered audit events stay on disk.
func (d *Daemon) Close() error {
	d.alone()
	errs := []error{d.ipc.Close()} // first: no call may start anything any more
	d.busy.Lock()
	if n := d.setNetwork(nil); n != nil {
		errs = append(errs, n.close(), d.forgetNames())
	}
	d.busy.Unlock()
	d.wg.Wait()
	d.old.Stop()
	d.old.Detach()
	return errors.Join(append(errs, d.spool.Close(), d.machine.Close())...)
}

// folder makes the profile's state folder. The machine's may be entered by everyone, as ssh reads known_hosts there;
// what is secret in it is 0600.
func (d *Daemon) folder() error {
	switch {
	case !d.paths.System:
		return paths.PrivateDir(d.paths.State)
	case d.paths.Moved: // into a folder whose modes are somebody else's business
		if err := os.MkdirAll(d.paths.State, 0o755); err != nil {
			return fmt.Errorf("make the state folder: %w", err)
		}
		return paths.PrivateDir(d.paths.State)
	}
	if err := paths.MachineDir(filepath.Dir(d.paths.State)); err != nil {
		return err
	}
	return paths.MachineDir(d.paths.State)
}

// network is the one that is up, or nil.
func (d *Daemon) network() *network {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.net
}

// setNetwork replaces the network that is up and returns the old one.
func (d *Daemon) setNetwork(n *network) *network {
	d.mu.Lock()
	old := d.net
	d.net = n
	d.mu.Unlock()
	d.notify()
	return old
}

// notify wakes everyone who watches the status.
func (d *Daemon) notify() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *Daemon) watch() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed
}

// record is the SSH server's audit sink.
func (d *Daemon) record(e audit.Event) error {
	d.recording.RLock()
	defer d.recording.RUnlock()
	var err error
	if h := d.heir.Load(); h != nil {
		err = h.Record(e)
	} else {
		err = d.spool.Append(e)
	}
	switch e.Type {
	case audit.SessionStart, audit.SessionEnd, audit.ChannelStart, audit.ChannelEnd:
		d.notify()
	}
	return err
}
