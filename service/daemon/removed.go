package daemon

import (
	"errors"
	"fmt"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
	"lanyard/service/machine"
)

// removed ends the network after the management server said that this machine is not a peer any more.
func (d *Daemon) removed(n *network, why error) {
	d.busy.Lock()
	defer d.busy.Unlock()
	if d.network() == n {
		d.quit(n, why)
	}
}

// quit takes the machine out of its network, whose management server does not have it any more. The caller holds d.busy.
func (d *Daemon) quit(n *network, why error) {
	d.log.Warn("the management server removed this machine", "why", why)
	if n.ssh != nil { // whoever was let in was let in by that network: nothing of theirs stays
		n.ssh.EndAll(reason.Removed)
	}
	if n.store != nil && n.store.Current() != nil {
		d.old.Apply(n.store.Current(), false)
	}
	err := d.machine.Update(func(s *machine.State) {
		s.PeerID, s.Network, s.MapKey, s.Removed = "", "", nil, why.Error()
	})
	if n.store != nil {
		err = errors.Join(err, n.store.Remove())
	}
	if err = errors.Join(err, d.setNetwork(nil).close(), d.unwrite()); err != nil {
		d.log.Error("what is left of the network could not all be removed", "err", fmt.Errorf("%w", err))
	}
}

// quitStranger takes the machine out of its network if the management server does not know it, and reports whether it did.
// The caller holds d.busy.
func (d *Daemon) quitStranger() bool {
	n := d.network()
	if n == nil {
		return false
	}
	why := n.stranger()
	if why != nil {
		d.quit(n, why)
	}
	return why != nil
}

// stranger is how the management server refuses a machine that it does not know, for one, because it was put back from a
// backup of before; nil: it does not.
func (n *network) stranger() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	err := n.problems["server"]
	if refused := (*api.Error)(nil); errors.As(err, &refused) && refused.Code == string(reason.Removed) {
		return err
	}
	return nil
}
