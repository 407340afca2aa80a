package daemon

import (
	"net/http"
	"slices"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
	"lanyard/platform/accounts"
	"lanyard/service/ipc"
	"lanyard/sshd/token"
)

// overflowUID is how Linux shows accounts of a user namespace that have no number here: several may look so.
const overflowUID = "65534"

// certificate vouches for the caller's account, with the machine key, where a policy names both. The account is what
// the kernel says of the caller; its name is the one that leads back to the same number.
func (d *Daemon) certificate(who ipc.Who, r ipc.MachineCertificateRequest) (*ipc.MachineCertificate, error) {
	n := d.network()
	if n == nil || n.inUse.Load() == nil {
		return nil, &api.Error{Status: http.StatusServiceUnavailable, Message: "Lanyard is not connected; run 'lanyard up'."}
	}
	m := n.inUse.Load().Map
	account, err := certifiable(who, accounts.Lookup)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(m.Peers, func(p api.Peer) bool { return slices.Contains(p.MachineAccounts, account.Name) }) {
		return nil, &api.Error{
			Status: http.StatusForbidden, Code: string(reason.NoRule),
			Message: "No policy lets the account " + account.Name + " of this machine in anywhere; ask your administrator.",
		}
	}
	key, err := ssh.ParsePublicKey(r.Key)
	if err != nil || key.Type() != ssh.KeyAlgoED25519 {
		return nil, bad("The request holds no ed25519 key.")
	}
	c, err := token.MintMachine(d.machine.Key(), key, token.Machine{Peer: m.Self.ID, Account: account.Name, AccountID: account.UID}, d.now())
	if err != nil {
		return nil, err
	}
	d.log.Debug("made a machine certificate", "account", account.Name)
	return &ipc.MachineCertificate{Certificate: c.Marshal(), Account: account.Name, Life: api.Secs(token.MachineLifetime)}, nil
}

// certifiable is the caller's account, when there is exactly one that it can be.
func certifiable(who ipc.Who, lookup func(string) (accounts.Account, error)) (accounts.Account, error) {
	a, err := lookup(who.Name)
	switch {
	case err != nil || who.ID == "" || a.UID != who.ID:
		return accounts.Account{}, &api.Error{
			Status:  http.StatusForbidden,
			Message: "This machine has no account with the number " + who.ID + "; only accounts with a name can be let in elsewhere.",
		}
	case who.ID == overflowUID:
		return accounts.Account{}, &api.Error{
			Status:  http.StatusForbidden,
			Message: "The account " + a.Name + " stands for whoever has no number here; run ssh as an account of its own.",
		}
	case (a.UID == "0") != (a.Name == "root"):
		return accounts.Account{}, &api.Error{
			Status:  http.StatusForbidden,
			Message: "The account " + a.Name + " is another name of root; run ssh as root or as an account of its own.",
		}
	}
	return a, nil
}
