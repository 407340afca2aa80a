package daemon

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/client"
	"lanyard/mgmt/api/reason"
	"lanyard/platform/accounts"
	"lanyard/service/ipc"
	"lanyard/service/machine"
	"lanyard/service/netmap"
)

// upLimit is how long up waits for the first map and the tunnel.
const upLimit = 20 * time.Second

// up joins a network, or switches on the one that the machine is part of, with the settings that r names.
func (d *Daemon) up(ctx context.Context, r ipc.UpRequest, say func(string)) (needLogin bool, err error) {
	d.busy.Lock()
	defer d.busy.Unlock()
	if d.managedErr != nil {
		return false, bad("%s.", strings.TrimSuffix(d.managedErr.Error(), "."))
	}
	if r, err = d.managed.Settle(r); err != nil {
		return false, &api.Error{Status: http.StatusForbidden, Message: err.Error()}
	}
	change, err := settings(r)
	if err != nil {
		return false, err
	}
	st := d.machine.State()
	was := st.Enrolled()
	if was && d.quitStranger() {
		return d.enter(ctx, r, change, true, say)
	}
	needLogin, err = d.enter(ctx, r, change, false, say)
	if err != nil && was && d.quitStranger() { // it was down, and hears only now that it is not known any more
		return d.enter(ctx, r, change, true, say)
	}
	return needLogin, err
}

// enter joins the network that r names where the machine is part of none, and switches on. With alone a join does not end
// with ctx: whoever asked may have done so in a session of the network that the machine has just left.
func (d *Daemon) enter(ctx context.Context, r ipc.UpRequest, change func(*machine.State), alone bool, say func(string)) (needLogin bool, err error) {
	st := d.machine.State()
	if st.Enrolled() {
		if r.URL != "" && !SameServer(r.URL, st.Server) {
			return false, bad("This machine is part of the network at %s as %s. Remove it there first ('lanyard-mgmt peer remove %s'), or join the other network with another --profile.",
				st.Server, st.Name, st.Name)
		}
	} else {
		if r.URL == "" && st.Server == "" {
			return false, bad("This machine is not part of a network yet; run 'lanyard up URL' with the join command that the management server printed.")
		}
		join := func(s *machine.State) {
			change(s)
			s.Server, s.Removed = firstOf(r.URL, s.Server), ""
			s.Name = firstOf(r.Name, s.Name, hostName())
		}
		joining := ctx
		if alone {
			var cancel context.CancelFunc
			joining, cancel = context.WithTimeout(context.WithoutCancel(ctx), upLimit)
			defer cancel()
		}
		if needLogin, err = d.join(joining, r, join, say); needLogin || err != nil {
			return needLogin, err
		}
	}
	before := st
	if err := d.machine.Update(func(s *machine.State) { change(s); s.Down = false }); err != nil {
		return false, err
	}
	st = d.machine.State()
	n := d.network()
	if n != nil && (n.fatal != nil || before.Userspace != st.Userspace) {
		err := d.setNetwork(nil).close()
		if err != nil {
			d.log.Warn("the old tunnel did not close cleanly", "err", err)
		}
		n = nil
	}
	if n == nil {
		n = d.openNetwork()
		d.setNetwork(n)
	} else {
		n.again()
	}
	return false, d.settle(ctx, n, say)
}

// join enrols the machine by a setup key, or prepares it for a person to do so.
func (d *Daemon) join(ctx context.Context, r ipc.UpRequest, join func(*machine.State), say func(string)) (needLogin bool, err error) {
	next := d.machine.State()
	join(&next)
	c, err := client.New(next.Server)
	if err != nil {
		return false, bad("%v.", err)
	}
	cfg, err := c.Config(ctx)
	if errors.Is(err, client.ErrUnreachable) {
		return false, fmt.Errorf("%w; check the address and the network, and that 'lanyard-mgmt serve' runs there", err)
	} else if err != nil {
		return false, err
	}
	say(fmt.Sprintf("Found the network %q at %s.", cfg.Name, c.URL("")))
	if r.SetupKey == "" {
		return true, d.machine.Update(join)
	}
	if err := checkMapKey(r.SetupKey, cfg.MapKey); err != nil { // before the key is used up
		return false, err
	}
	body, err := d.enrollBody(next, r.SetupKey)
	if err != nil {
		return false, err
	}
	reply, err := c.EnrollBody(ctx, client.Machine{Key: d.machine.Key()}, body, nil)
	if err != nil {
		return false, err
	}
	if err := checkMapKey(r.SetupKey, reply.MapKey); err != nil {
		return false, err
	}
	if err := d.machine.Update(func(s *machine.State) { join(s); enrolled(s, reply, d.now()) }); err != nil {
		return false, err
	}
	d.forgetKey()
	say(fmt.Sprintf("This machine is %q in it now.", reply.Name))
	return false, nil
}

// enroll sends a person's proof, for exactly the request that this machine offered.
func (d *Daemon) enroll(ctx context.Context, r ipc.EnrollByPerson) (*api.EnrollReply, error) {
	d.busy.Lock()
	defer d.busy.Unlock()
	st := d.machine.State()
	if st.Enrolled() {
		return nil, bad("This machine is part of a network already, as %s.", st.Name)
	}
	if st.Server == "" {
		return nil, bad("No management server is chosen yet; run 'lanyard up URL'.")
	}
	body, err := d.enrollBody(st, "")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(body, r.Body) {
		return nil, bad("The sign-in was for another request than this machine's; run 'lanyard up' again.")
	}
	c, err := client.New(st.Server)
	if err != nil {
		return nil, err
	}
	reply, err := c.EnrollBody(ctx, client.Machine{Key: d.machine.Key()}, body,
		&client.LoginHeaders{Authorization: r.Authorization, Proof: r.Proof})
	if err != nil {
		return nil, err
	}
	if err := d.machine.Update(func(s *machine.State) { enrolled(s, reply, d.now()) }); err != nil {
		return nil, err
	}
	d.forgetKey()
	d.notify()
	return reply, nil
}

func enrolled(s *machine.State, r *api.EnrollReply, now time.Time) {
	s.PeerID, s.Name, s.Network, s.MapKey, s.EnrolledAt = r.PeerID, r.Name, r.Network, r.MapKey, now.UTC()
	s.Map = netmap.Place{} // it is another machine to the network
}

// enrollBody is the same bytes for the same state: a person's proof covers it.
func (d *Daemon) enrollBody(st machine.State, setupKey string) ([]byte, error) {
	key := d.machine.Key().Public()
	b, err := json.Marshal(api.EnrollRequest{
		Name: firstOf(st.Name, hostName()), MachineKey: keyBytes(key), WGKey: d.machine.WGPublic(),
		HostKeys: d.machine.SignedHostKeys(), SetupKey: setupKey, OS: runtime.GOOS, Release: d.opt.Release,
		ServesSSH: st.AllowSSH, Overlay4: st.Overlay4,
	})
	return b, err
}

// checkMapKey compares the key that will sign maps with the pin that the setup key carries after its dot.
func checkMapKey(setupKey string, mapKey []byte) error {
	pin, err := mapKeyPin(setupKey)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(mapKey)
	if want := base64.RawURLEncoding.EncodeToString(sum[:])[:pinLength]; pin != want {
		return bad("The management server signs maps with another key than the one that the setup key names. Either the key is of another server, or somebody is in between; ask your administrator for a new setup key.")
	}
	return nil
}

// pinLength is how many characters of the map key's hash a setup key carries.
const pinLength = 22

func mapKeyPin(setupKey string) (string, error) {
	_, pin, ok := strings.Cut(strings.TrimSpace(setupKey), ".")
	if !ok || len(pin) != pinLength {
		return "", bad("The setup key is not whole: it ends in a dot and %d characters; copy it again.", pinLength)
	}
	return pin, nil
}

// settle waits until the map is in force and the tunnel is open, or says what is in the way.
func (d *Daemon) settle(ctx context.Context, n *network, say func(string)) error {
	ctx, cancel := context.WithTimeout(ctx, upLimit)
	defer cancel()
	for {
		changed := d.watch()
		if n.fatal != nil {
			return n.fatal
		}
		n.mu.Lock()
		tun, online := n.tun, n.online
		wrong := firstErr(n.problems["removed"], n.problems["tunnel"])
		server := n.problems["server"]
		n.mu.Unlock()
		// A server that answers and refuses will not change its mind while somebody waits here; with the last map the machine
		// goes on, unless it is no part of the network any more.
		if refused := (*api.Error)(nil); errors.As(server, &refused) && (tun == nil || refused.Code == string(reason.Removed)) {
			wrong = firstErr(wrong, server)
		}
		switch {
		case wrong != nil:
			return wrong
		case tun != nil && (online || server != nil):
			if m := n.store.Current(); m != nil {
				say(fmt.Sprintf("Connected as %s (%s), %s mode.", m.Self.Name, m.Self.Addr4, tun.Status().Mode))
			}
			if !online {
				say(fmt.Sprintf("The management server does not answer now; the last network map is in force. (%v)", server))
			}
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if server == nil {
				server = errors.New("the management server sent no network map yet")
			}
			return fmt.Errorf("not connected within %s: %w; 'lanyard status' shows how it goes on", upLimit, server)
		}
	}
}

// down switches off and stays off across restarts.
func (d *Daemon) down(context.Context) error {
	d.busy.Lock()
	defer d.busy.Unlock()
	if err := d.machine.Update(func(s *machine.State) { s.Down = true }); err != nil {
		return err
	}
	if n := d.setNetwork(nil); n != nil {
		if err := n.close(); err != nil {
			d.log.Warn("the tunnel did not close cleanly", "err", err)
		}
	}
	return d.unwrite()
}

// settings checks what r asks for before anything is changed.
func settings(r ipc.UpRequest) (func(*machine.State), error) {
	var operator ipc.Account
	var connect []ipc.Account
	var err error
	if r.Operator != nil && *r.Operator != "" {
		if operator, err = account(*r.Operator); err != nil {
			return nil, err
		}
	}
	if r.Connect != nil {
		for _, name := range *r.Connect {
			a, err := account(name)
			if err != nil {
				return nil, err
			}
			connect = append(connect, a)
		}
	}
	if r.Name != "" {
		if err := api.CheckName(r.Name); err != nil {
			return nil, bad("%v.", err)
		}
	}
	var overlay netip.Prefix
	if r.Overlay4 != "" {
		if overlay, err = netip.ParsePrefix(r.Overlay4); err != nil || !overlay.Addr().Is4() {
			return nil, bad("The overlay range %q must look like 100.110.0.0/16.", r.Overlay4)
		}
	}
	return func(s *machine.State) {
		if r.AllowSSH != nil {
			s.AllowSSH = *r.AllowSSH
		}
		if r.Userspace != nil {
			s.Userspace = *r.Userspace
		}
		if r.Operator != nil {
			s.Operator = operator
		}
		if r.Connect != nil {
			s.Connect = connect
		}
		if overlay.IsValid() {
			s.Overlay4 = overlay.Masked()
		}
	}, nil
}

// account resolves a name once: the uid or SID decides from then on, so that a name given to somebody else later
// takes nothing along.
func account(name string) (ipc.Account, error) {
	a, err := accounts.Lookup(name)
	if err != nil {
		return ipc.Account{}, bad("The account %q is not known here: %v.", name, err)
	}
	return ipc.Account{Name: a.Name, ID: a.UID}, nil
}

// SameServer reports whether two join commands name the same server, with the same pin where a has one.
func SameServer(a, b string) bool {
	x, xpin, err1 := client.Parse(a)
	y, ypin, err2 := client.Parse(b)
	return err1 == nil && err2 == nil && *x == *y && (xpin == nil || bytes.Equal(xpin, ypin))
}

func hostName() string {
	h, _ := os.Hostname() // CleanName makes a name of nothing too
	return api.CleanName(h)
}

func firstOf(s ...string) string {
	for _, x := range s {
		if x != "" {
			return x
		}
	}
	return ""
}

func firstErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func bad(format string, args ...any) error {
	return &api.Error{Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
}
