package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
	"lanyard/service/handover"
	"lanyard/service/ipc"
	"lanyard/service/machine"
	"lanyard/service/tunnel"
	"lanyard/sshd"
	"lanyard/sshd/token"
)

const (
	heirTime = 20 * time.Second // for the new process to come
	lockTime = 20 * time.Second // for an old process that cannot be replaced to end
)

// leave waits for the process that takes this one's place, gives it everything but the open sessions, and serves those
// to their end. Without such a process, or when it is of another kind, the sessions end.
func (d *Daemon) leave(ctx context.Context) error {
	offer, err := handover.NewOffer(d.paths.Run, d.opt.Profile, d.opt.Release)
	if err != nil {
		return errors.Join(err, d.Close())
	}
	defer offer.Close()
	if d.opt.Leaving != nil {
		d.opt.Leaving()
	}
	d.log.Info("waiting to be replaced")
	waiting, cancel := context.WithTimeout(ctx, heirTime)
	defer cancel()
	if err := offer.Wait(waiting); err != nil {
		d.log.Warn("nobody takes this service's place; its sessions end", "why", err)
		if incompatible := (*handover.IncompatibleError)(nil); errors.As(err, &incompatible) {
			if n := d.network(); n != nil && n.ssh != nil {
				n.endAll(reason.Upgraded)
			}
		}
		return d.Close()
	}
	return d.giveUp(ctx, offer)
}

var errNetstack = errors.New("connections end in this process's own network stack")

// endAll ends every session with a reason.
func (n *network) endAll(code reason.Code) {
	for _, s := range n.ssh.Sessions() {
		n.ssh.End(s.ID, code)
	}
}

// giveUp hands over to the process that waits, and lingers.
func (d *Daemon) giveUp(ctx context.Context, offer *handover.Offer) error {
	d.alone()
	errs := []error{d.ipc.Close()} // and with it every call that could change the network
	heir, err := handover.NewLinger(d.paths.Run, d.opt.Profile, d.network().left(), d.log)
	if err != nil {
		return errors.Join(err, d.Close())
	}
	d.busy.Lock()
	defer d.busy.Unlock()
	n := d.network()
	var gift *tunnel.Handover
	if n != nil {
		gift = n.detach()
	}
	d.old.Detach() // the new process attaches to those, too
	d.wg.Wait()
	d.recording.Lock()
	d.heir.Store(heir)
	d.recording.Unlock()
	errs = append(errs, d.spool.Close(), d.machine.Close(), offer.Give(gift), offer.Close())
	d.log.Info("another process is the service now; this one serves its sessions to their end")
	heir.Run(ctx)
	if n != nil && n.ssh != nil {
		errs = append(errs, n.ssh.Close())
		n.serves.Wait()
	}
	return errors.Join(append(errs, heir.Close())...)
}

// detach stops everything of n but its open sessions, and takes its tunnel out. Sessions whose connection ends in this
// process's own network stack cannot go on without it: they end.
func (n *network) detach() *tunnel.Handover {
	n.cancel()
	n.following.Wait()
	n.applying.Lock()
	defer n.applying.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.lingering != nil {
		n.lingering.Stop()
		n.lingering = nil
	}
	tun := n.tun
	n.tun = nil
	if tun == nil {
		return nil
	}
	var gift *tunnel.Handover
	err := errNetstack
	if tun.Status().Listener != "netstack" {
		gift, err = tun.Handover()
	}
	if err != nil {
		n.d.log.Warn("the tunnel stays with its process, so its sessions end", "why", err)
		n.endAll(reason.Upgraded)
		if err := errors.Join(n.ssh.Close(), tun.Close()); err != nil {
			n.d.log.Warn("the tunnel did not close cleanly", "err", err)
		}
	}
	return gift
}

// left is what the process still serves after it was replaced; n may be nil.
func (n *network) left() handover.Sessions {
	if n == nil || n.ssh == nil {
		return handover.Sessions{
			Apply: func(*api.Map, bool) []string { return nil }, List: func() []ipc.Session { return nil },
			End: func(string) bool { return false }, Busy: func() bool { return false },
		}
	}
	return handover.Sessions{
		Apply: func(m *api.Map, enabled bool) []string {
			n.applying.Lock()
			defer n.applying.Unlock()
			n.decideBy(m, enabled)
			return n.ssh.Changed()
		},
		List: n.sessions,
		End:  func(id string) bool { return n.ssh.End(id, reason.EndedHere) },
		Busy: n.ssh.Busy,
	}
}

// decideBy makes m what sessions are decided by. The caller holds n.applying.
func (n *network) decideBy(m *api.Map, enabled bool) {
	trust, err := token.TrustFromMap(m)
	if err != nil { // nobody is admitted on the word of issuers that cannot be read
		trust = &token.Trust{MapTime: m.IssuedAt}
	}
	n.problem("issuers", err)
	if n.limitsChanged() { // a service that was replaced hears of it only here
		n.readLimits()
	}
	own := n.limits.Load()
	trust.MapKey, trust.Limits = n.d.machine.State().MapKey, own.Trust
	n.inUse.Store(&sshd.State{Trust: trust, Map: m, Enabled: enabled, Limits: own.Policy})
}

// takeOver takes the tunnel of a process that is leaving, if there is one.
func (d *Daemon) takeOver() (*tunnel.Handover, error) {
	h, err := handover.Take(d.paths.Run, d.opt.Profile, d.opt.Release, handover.Protocol)
	incompatible := (*handover.IncompatibleError)(nil)
	switch {
	case errors.Is(err, handover.ErrNobody):
		return nil, nil
	case errors.As(err, &incompatible):
		d.log.Warn("the sessions of the old service end", "why", err)
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("start beside the service that is leaving: %w", err)
	}
	return h, nil
}

// openMachine takes the profile, for which a process that is just ending may take a moment to make room.
func (d *Daemon) openMachine() (*machine.Machine, error) {
	end := time.Now().Add(lockTime)
	for {
		m, err := machine.Open(d.paths.StateFile)
		if !errors.Is(err, machine.ErrRunning) || d.opt.Leave == nil || time.Now().After(end) {
			return m, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// closeTaken closes what was handed over and is not used.
func (d *Daemon) closeTaken() error {
	if d.taken == nil {
		return nil
	}
	err := d.taken.Close()
	d.taken = nil
	return err
}
