// Package netmap is the network map on the machine: verified, kept on disk and followed.
//
// The management server signs the map; the machine pinned the key when it enrolled. Nothing of a map is believed
// before Parse looked at it, whether it came over the network or from disk: the signature, that it is for this
// machine, that names could stand in an ssh_config, that each host key is signed by its peer's machine key. A map is
// never followed by an older one: epoch, version and issue time only rise (Store). Because the newest map is on disk,
// a server admits people after a reboot while the management server is down, within the map's own max_map_age.
package netmap

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
)

// format is the newest map format that this program knows.
const format = 1

// ErrOlder is returned for a map that is older than the one in force.
var ErrOlder = errors.New("the map is older than the one in force and is refused")

// Pin is whom a map must come from and be for.
type Pin struct {
	Key     ed25519.PublicKey // the map key
	Network string            // id
	Peer    string            // id of this machine
}

// Parse verifies a signed map and returns it, without host keys that their peer's machine key does not vouch for.
// Everything else that is wrong refuses the whole map: half a policy is worse than yesterday's.
func Parse(s *api.SignedMap, pin Pin) (*api.Map, error) {
	if s == nil || len(pin.Key) != ed25519.PublicKeySize || !ed25519.Verify(pin.Key, api.MapMessage(s.Map), s.Sig) {
		return nil, errors.New("the map's signature is not by the key that this machine pinned when it was enrolled; " +
			"if the management server was set up anew, run 'lanyard up' with a new join command")
	}
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(s.Map, &head); err != nil {
		return nil, fmt.Errorf("the map cannot be read: %w", err)
	}
	if head.Format > format {
		return nil, fmt.Errorf("the map cannot be read: %w", api.ErrFormat)
	}
	m := new(api.Map)
	if err := json.Unmarshal(s.Map, m); err != nil {
		return nil, fmt.Errorf("the map cannot be read: %w", err)
	}
	if err := check(m, pin); err != nil {
		return nil, fmt.Errorf("the map is refused: %w", err)
	}
	return m, nil
}

func check(m *api.Map, pin Pin) error {
	switch {
	case m.Format != format:
		return fmt.Errorf("its format is %d", m.Format)
	case m.Network != pin.Network:
		return fmt.Errorf("it is for the network %q", m.Network)
	case m.Self.ID != pin.Peer:
		return fmt.Errorf("it is for the machine %q", m.Self.ID)
	case !m.Overlay4.IsValid() && !m.Overlay6.IsValid():
		return errors.New("it names no overlay range")
	case m.IssuedAt.IsZero():
		return errors.New("it does not say when it was issued")
	case m.MaxMapAge < 0:
		return errors.New("its longest age is negative")
	}
	if m.Zone != "" {
		if err := checkZone(m.Zone); err != nil {
			return err
		}
	}
	ids, names, addrs, keys := map[string]bool{}, map[string]bool{}, map[netip.Addr]bool{}, map[string]bool{}
	if err := checkPeer(m, &m.Self, ids, names, addrs, keys); err != nil {
		return fmt.Errorf("this machine: %w", err)
	}
	// One machine that cannot be right is left out. Refusing the whole map for it would keep back what matters most,
	// that somebody was blocked.
	good := m.Peers[:0]
	for _, p := range m.Peers {
		if checkPeer(m, &p, ids, names, addrs, keys) == nil { // it drops host keys that the machine did not sign
			good = append(good, p)
		}
	}
	m.Peers = good
	return nil
}

func checkPeer(m *api.Map, p *api.Peer, ids, names map[string]bool, addrs map[netip.Addr]bool, keys map[string]bool) error {
	if err := api.CheckName(p.ID); err != nil { // ids stand in file names and ssh_config too
		return fmt.Errorf("its id: %w", err)
	}
	if err := api.CheckName(p.Name); err != nil {
		return err
	}
	switch {
	case ids[p.ID]:
		return errors.New("its id stands twice in the map")
	case names[p.Name]:
		return fmt.Errorf("its name %q stands twice in the map", p.Name)
	case len(p.WGKey) != 32 || len(p.MachineKey) != ed25519.PublicKeySize:
		return errors.New("its keys have the wrong length")
	case keys[string(p.WGKey)]:
		return errors.New("its WireGuard key stands twice in the map")
	case !p.Addr4.IsValid() && !p.Addr6.IsValid():
		return errors.New("it has no overlay address")
	}
	for _, a := range []struct {
		addr netip.Addr
		in   netip.Prefix
	}{{p.Addr4, m.Overlay4}, {p.Addr6, m.Overlay6}} {
		if !a.addr.IsValid() {
			continue
		}
		// An address outside would route foreign traffic into the tunnel.
		if !a.in.IsValid() || !a.in.Contains(a.addr) || a.addr.Zone() != "" {
			return fmt.Errorf("its address %s is not of the overlay", a.addr)
		}
		if addrs[a.addr] {
			return fmt.Errorf("its address %s stands twice in the map", a.addr)
		}
		addrs[a.addr] = true
	}
	ids[p.ID], names[p.Name], keys[string(p.WGKey)] = true, true, true
	p.HostKeys = vouched(p)
	return nil
}

// vouched returns the host keys that p's machine key signed.
func vouched(p *api.Peer) []api.SignedKey {
	var good []api.SignedKey
	for _, k := range p.HostKeys {
		if _, err := ssh.ParsePublicKey(k.Key); err != nil {
			continue
		}
		if ed25519.Verify(p.MachineKey, api.HostKeyMessage(k.Key), k.Sig) {
			good = append(good, k)
		}
	}
	return good
}

// checkZone refuses a zone that could not stand in an ssh_config: labels as in CheckName, at most 253 characters.
func checkZone(z string) error {
	if len(z) > 253 {
		return errors.New("its zone is longer than a name may be")
	}
	for label := range strings.SplitSeq(z, ".") {
		if err := api.CheckName(label); err != nil {
			return fmt.Errorf("its zone %q: %w", z, err)
		}
	}
	return nil
}

// DefaultMaxMapAge is a map's longest age when it names none.
const DefaultMaxMapAge = 24 * time.Hour

// MaxAge is how long after its issue m may be relied on.
func MaxAge(m *api.Map) time.Duration {
	if m.MaxMapAge == 0 {
		return DefaultMaxMapAge
	}
	return m.MaxMapAge.Duration()
}
