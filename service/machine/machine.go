// Package machine is what one machine is and was told, on disk: its keys, the network it is part of, and the settings
// that its administrator chose. One file per profile, 0600, always written whole.
//
// The keys are made at the first run and stay: the machine key signs requests and host keys, the WireGuard key is the
// tunnel's, the host key is SSH's. Losing the file means to enrol again, under a new identity.
package machine

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/platform/paths"
	"lanyard/service/ipc"
	"lanyard/service/netmap"
)

// format is the newest format of State that this program knows.
const format = 1

// State is the file's content.
type State struct {
	Format     int    `json:"format"`
	MachineKey []byte `json:"machine_key"` // ed25519 seed, 32 bytes
	WGKey      []byte `json:"wg_key"`      // Curve25519 private key, 32 bytes
	HostKey    []byte `json:"host_key"`    // ed25519 seed, 32 bytes

	Server  string `json:"server,omitempty"` // as given to 'lanyard up', with the pin
	PeerID  string `json:"peer_id,omitempty"`
	Name    string `json:"name,omitempty"` // registered, or asked for while PeerID is empty
	Network string `json:"network,omitempty"`
	MapKey  []byte `json:"map_key,omitempty"` // ed25519 public key, pinned at enrolment
	// Map is the place of the newest map that this machine had: no older one is believed, whatever became of its file.
	Map     netmap.Place `json:"map,omitzero"`
	Removed string       `json:"removed,omitempty"` // the management server's sentence, when it removed this machine

	Down      bool          `json:"down,omitempty"` // switched off with 'lanyard down'
	AllowSSH  bool          `json:"allow_ssh,omitempty"`
	Userspace bool          `json:"userspace,omitempty"`
	Overlay4  netip.Prefix  `json:"overlay4,omitzero"` // asked for in place of the default range
	Operator  ipc.Account   `json:"operator,omitzero"`
	Connect   []ipc.Account `json:"connect,omitempty"`
	// SpoolLimit bounds the audit spool, in bytes; 0: the spool's default.
	SpoolLimit int64 `json:"spool_limit,omitempty"`
	// EnrolledAt is for people.
	EnrolledAt time.Time `json:"enrolled_at,omitzero"`
}

// Enrolled reports whether the machine is a peer of a network.
func (s *State) Enrolled() bool { return s.PeerID != "" }

// Machine is the open state of one profile. Its methods may be called from several goroutines.
type Machine struct {
	path string
	lock *os.File

	mu    sync.Mutex // guards state, and that writes of the file follow each other
	state State

	machineKey ed25519.PrivateKey
	wgKey      *ecdh.PrivateKey
	hostKey    ssh.Signer
}

// ErrRunning is returned while another process has the profile open.
var ErrRunning = errors.New("another Lanyard service already runs for this profile; 'lanyard status' shows it")

// Open takes the profile for this process and reads the state, or makes keys when there is none. The folder exists.
func Open(path string) (*Machine, error) {
	l, err := lock(filepath.Join(filepath.Dir(path), "lock"))
	if err != nil {
		return nil, err
	}
	m, err := open(path)
	if err != nil {
		l.Close()
		return nil, err
	}
	m.lock = l
	return m, nil
}

// Close gives the profile free.
func (m *Machine) Close() error { return m.lock.Close() }

func open(path string) (*Machine, error) {
	m := &Machine{path: path}
	b, err := paths.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if m.state, err = newState(); err != nil {
			return nil, err
		}
		if err := m.write(m.state); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, fmt.Errorf("read this machine's state: %w", err)
	default:
		if m.state, err = parse(b); err != nil {
			return nil, fmt.Errorf("read this machine's state in %s: %w", path, err)
		}
	}
	return m, m.load()
}

func newState() (State, error) {
	_, mk, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return State{}, fmt.Errorf("make the machine key: %w", err)
	}
	_, hk, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return State{}, fmt.Errorf("make the host key: %w", err)
	}
	wg, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return State{}, fmt.Errorf("make the WireGuard key: %w", err)
	}
	return State{Format: format, MachineKey: mk.Seed(), HostKey: hk.Seed(), WGKey: wg.Bytes()}, nil
}

func parse(b []byte) (State, error) {
	var head struct {
		Format int `json:"format"`
	}
	const restore = "it is left as it is: restore it from a backup, or move it away and run 'lanyard up' to join again as a new machine"
	if err := json.Unmarshal(b, &head); err != nil {
		return State{}, fmt.Errorf("the file is damaged (%w); %s", err, restore)
	}
	if head.Format > format {
		return State{}, api.ErrFormat
	}
	var s State
	if err := json.Unmarshal(b, &s); err != nil {
		return State{}, fmt.Errorf("the file is damaged (%w); %s", err, restore)
	}
	if s.Format != format || len(s.MachineKey) != ed25519.SeedSize || len(s.HostKey) != ed25519.SeedSize || len(s.WGKey) != 32 {
		return State{}, fmt.Errorf("the file holds no keys; %s", restore)
	}
	return s, nil
}

func (m *Machine) load() error {
	m.machineKey = ed25519.NewKeyFromSeed(m.state.MachineKey)
	var err error
	if m.wgKey, err = ecdh.X25519().NewPrivateKey(m.state.WGKey); err != nil {
		return fmt.Errorf("read the WireGuard key: %w", err)
	}
	if m.hostKey, err = ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(m.state.HostKey)); err != nil {
		return fmt.Errorf("read the host key: %w", err)
	}
	return nil
}

// State returns a copy.
func (m *Machine) State() State {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

// Update changes the state by f and writes it. On an error nothing changed.
func (m *Machine) Update(f func(*State)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := m.state
	f(&next)
	if err := m.write(next); err != nil {
		return err
	}
	m.state = next
	return nil
}

func (m *Machine) write(s State) error {
	b, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return err
	}
	if err := paths.WriteFile(m.path, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("keep this machine's state: %w", err)
	}
	return nil
}

// Key is the machine key.
func (m *Machine) Key() ed25519.PrivateKey { return m.machineKey }

// HostKey signs for the SSH server.
func (m *Machine) HostKey() ssh.Signer { return m.hostKey }

// WGPrivate is the tunnel's private key.
func (m *Machine) WGPrivate() [32]byte { return [32]byte(m.wgKey.Bytes()) }

// WGPublic is the tunnel's public key.
func (m *Machine) WGPublic() []byte { return m.wgKey.PublicKey().Bytes() }

// SignedHostKeys are the host keys with the machine key's signature.
func (m *Machine) SignedHostKeys() []api.SignedKey {
	wire := m.hostKey.PublicKey().Marshal()
	return []api.SignedKey{{Key: wire, Sig: ed25519.Sign(m.machineKey, api.HostKeyMessage(wire))}}
}
