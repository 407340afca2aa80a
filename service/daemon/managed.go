package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"lanyard/mgmt/api"
	"lanyard/service/ipc"
	"lanyard/service/machine"
	"lanyard/service/managed"
)

// Pauses between tries of a machine that joins by itself: its server may be installed after it.
const (
	joinPause    = 5 * time.Second
	maxJoinPause = 5 * time.Minute
)

// readManaged reads what the administrator settled. A file that cannot be used settles nothing and forbids every change, so
// that nobody gains by spoiling it; the machine stays as it is.
func (d *Daemon) readManaged() {
	s, err := managed.Load(d.paths)
	d.managed, d.managedErr = s, err
	if err != nil {
		d.log.Error("the administrator's settings cannot be used", "err", err)
		return
	}
	r, err := s.Settle(ipc.UpRequest{})
	if err == nil {
		var change func(*machine.State)
		if change, err = settings(r); err == nil {
			err = d.machine.Update(change)
		}
	}
	if err != nil {
		d.managedErr = err
		d.log.Error("the administrator's settings cannot be applied", "err", err)
	}
}

// joinAlone joins the network that the machine was told of when it was installed, until that is done, a person does it,
// or the server refuses for good. A machine that was removed joins again only by a key that was left for it since.
func (d *Daemon) joinAlone(ctx context.Context) {
	for pause := joinPause; ; pause = min(2*pause, maxJoinPause) {
		st := d.machine.State()
		if st.Enrolled() {
			d.forgetKey()
			return
		}
		if st.Down || d.managedErr != nil {
			return
		}
		j, err := managed.Waiting(d.paths, d.managed, os.Getenv)
		if err == nil && (j == nil || st.Removed != "" && j.Request.SetupKey == "") {
			d.setJoinErr(nil)
			return
		}
		if err == nil {
			var needLogin bool
			needLogin, err = d.up(ctx, j.Request, func(line string) { d.log.Info(line) })
			st = d.machine.State()
			if err == nil && needLogin {
				d.log.Info("this machine waits for a person to sign in")
			}
		}
		d.setJoinErr(err)
		if refused := (*api.Error)(nil); err == nil || errors.As(err, &refused) || st.Enrolled() {
			return
		}
		d.log.Warn("this machine has not joined its network yet", "err", err, "again_in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// forgetKey removes the setup key that was left for a machine which is part of a network now, whoever brought it there. A
// key stays while the administrator settled another network: the machine joins that one by it once it was removed here.
func (d *Daemon) forgetKey() {
	if d.elsewhere(d.machine.State()) {
		d.setJoinErr(nil)
		return
	}
	err := managed.ForgetKey(d.paths)
	if err != nil {
		d.log.Error("a setup key is left on this machine", "err", err)
	}
	d.setJoinErr(err)
}

// elsewhere reports whether the administrator settled another network than the one that the machine is part of.
func (d *Daemon) elsewhere(st machine.State) bool {
	m := d.managed
	return m != nil && m.ManagementURL != "" && st.Enrolled() && !SameServer(m.ManagementURL, st.Server)
}

func (d *Daemon) setJoinErr(err error) {
	d.mu.Lock()
	d.joinErr = err
	d.mu.Unlock()
	d.notify()
}

// managedProblems are what status says of the administrator's settings.
func (d *Daemon) managedProblems() (names []string, from map[string]string, problems []string) {
	st := d.machine.State()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.managed != nil {
		names, from = d.managed.Names(), map[string]string{}
		for _, n := range names {
			from[n] = d.managed.Source(n)
		}
	}
	for _, err := range []error{d.managedErr, d.joinErr} {
		if err != nil {
			problems = append(problems, err.Error())
		}
	}
	// No setting takes a machine out of a network; whoever settled another one must know.
	if m := d.managed; d.elsewhere(st) {
		problems = append(problems, fmt.Sprintf("your administrator settled the network at %s (%s), and this machine is part of the one at %s; once it is removed there ('lanyard-mgmt peer remove %s'), it joins by the setup key that was left for it when its service starts again, or by 'lanyard up'",
			m.ManagementURL, m.Source("management_url"), st.Server, st.Name))
	}
	return names, from, problems
}
