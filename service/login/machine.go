package login

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/platform/paths"
	"lanyard/service/ipc"
	"lanyard/service/login/fresh"
)

// ErrNoMachineRule is returned where no policy lets this account in as one of this machine: a person has to sign in.
var ErrNoMachineRule = errors.New("no policy lets this account in without a sign-in")

// Certifier makes machine certificates; *ipc.Client is one.
type Certifier interface {
	Certificate(ctx context.Context, key []byte) (*ipc.MachineCertificate, error)
}

// machineLimit bounds how long an ssh command waits for a machine certificate.
const machineLimit = 5 * time.Second

// SignedIn reports whether somebody is signed in under this account on the machine peer, however old their token is.
func (c Config) SignedIn(peer string) bool {
	_, _, name := c.Paths.Identity(peer)
	f, err := fresh.Read(name)
	return err == nil && c.now().Before(f.Ends)
}

// EnsureMachine makes the machine certificate of this account good to offer, by a new one unless it has half of its
// life left. accounts, with commas between, are those that a policy names for the machine at the other end.
func (c Config) EnsureMachine(ctx context.Context, by Certifier, peer, accounts string) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, machineLimit)
	defer cancel()
	t, before, err := takeTurn(ctx, c.Paths, "machine", nil)
	if err != nil {
		return err
	}
	_, _, name := c.Paths.MachineIdentity(peer)
	if f, err := fresh.Read(name); err == nil && f.Good(c.now(), 0) && f.For(accounts) {
		t.leave()
		return nil
	}
	// That a policy names nobody was said about the machine at the other process's end, not about this one.
	if before != nil && before.Err != "" && before.Err != ErrNoMachineRule.Error() {
		t.leave()
		return errors.New(before.Err)
	}
	err = c.renewMachine(ctx, by, peer, accounts)
	t.done(began, err)
	return err
}

// MachineAccount reports whether some machine lets this account in without a sign-in. It is then one of Ansible's or a
// CI's, for which no browser opens.
func MachineAccount(ctx context.Context, by Certifier) bool {
	ctx, cancel := context.WithTimeout(ctx, machineLimit)
	defer cancel()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return false
	}
	_, err = by.Certificate(ctx, wireKey(key)) // for a key that nobody keeps
	return err == nil
}

func (c Config) renewMachine(ctx context.Context, by Certifier, peer, accounts string) error {
	key, isNew, err := c.machineKey(peer)
	if err != nil {
		return err
	}
	got, err := by.Certificate(ctx, wireKey(key))
	var refused *api.Error
	if errors.As(err, &refused) && refused.Status == http.StatusForbidden {
		return ErrNoMachineRule
	}
	if err != nil {
		return err
	}
	f := fresh.Line{Issued: c.now(), Account: got.Account}
	f.RefreshAfter, f.Ends = f.Issued.Add(got.Life.Duration()/2), f.Issued.Add(got.Life.Duration())
	if !f.For(accounts) {
		return ErrNoMachineRule // one for other machines; this one would refuse it
	}
	cert, err := ssh.ParsePublicKey(got.Certificate)
	if err != nil {
		return fmt.Errorf("read the machine certificate: %w", err)
	}
	if err := paths.PrivateDir(c.Paths.SSHDir); err != nil {
		return err
	}
	keyName, certName, freshName := c.Paths.MachineIdentity(peer)
	if isNew {
		block, err := ssh.MarshalPrivateKey(key, "lanyard machine "+c.Paths.Profile)
		if err != nil {
			return fmt.Errorf("encode the key of the machine certificate: %w", err)
		}
		if err := paths.WriteFile(keyName, pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	if err := paths.WriteFile(certName, ssh.MarshalAuthorizedKey(cert), 0o600); err != nil {
		return err
	}
	return paths.WriteFile(freshName, []byte(f.String()), 0o600)
}

// machineKey is this account's key for machine certificates: the one that is there, or a new one.
func (c Config) machineKey(peer string) (key ed25519.PrivateKey, isNew bool, err error) {
	name, _, _ := c.Paths.MachineIdentity(peer)
	if raw, err := paths.ReadFile(name); err == nil {
		if parsed, err := ssh.ParseRawPrivateKey(raw); err == nil {
			if k, ok := parsed.(*ed25519.PrivateKey); ok {
				return *k, false, nil
			}
		}
	}
	_, key, err = ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, false, fmt.Errorf("make a key for the machine certificate: %w", err)
	}
	return key, true, nil
}
