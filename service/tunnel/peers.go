package tunnel

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/device"
)

// SetPeers makes these the tunnel's peers. Peers that stay as they are notice nothing; a peer whose candidates changed
// keeps its endpoint while that works. On an error nothing has changed.
func (t *Tunnel) SetPeers(peers []Peer) error {
	t.set.Lock()
	defer t.set.Unlock()
	next, byAddr, err := t.checkPeers(peers)
	if err != nil {
		return fmt.Errorf("set peers: %w", err)
	}
	t.mu.Lock()
	was := t.peers
	t.mu.Unlock()

	var uapi strings.Builder
	for id, old := range was {
		if p, ok := next[id]; !ok || p.PublicKey != old.PublicKey {
			fmt.Fprintf(&uapi, "public_key=%s\nremove=true\n", hexKey(old.PublicKey))
			t.bind.remove(old.PublicKey)
		}
	}
	greet := map[bool][]string{} // UAPI, by whether to wait
	for id, p := range next {
		old, had := was[id]
		had = had && old.PublicKey == p.PublicKey
		if !had || !slices.Equal(old.Endpoints, p.Endpoints) {
			if err := t.bind.setCandidates(p.PublicKey, p.Endpoints); err != nil {
				return fmt.Errorf("set peers: peer %s: %w", id, err)
			}
		}
		if !had || !slices.Equal(old.Addrs, p.Addrs) {
			fmt.Fprintf(&uapi, "public_key=%s\n", hexKey(p.PublicKey))
			if !had {
				fmt.Fprintf(&uapi, "endpoint=peer:%s\n", hexKey(p.PublicKey))
			}
			fmt.Fprintf(&uapi, "replace_allowed_ips=true\n")
			for _, a := range p.Addrs {
				fmt.Fprintf(&uapi, "allowed_ip=%s\n", netip.PrefixFrom(a, a.BitLen()))
			}
		}
		if len(p.Endpoints) > 0 && (!had || len(old.Endpoints) == 0) {
			later := t.cfg.Resume == nil && bytes.Compare(t.bind.self[:], p.PublicKey[:]) < 0
			greet[later] = append(greet[later], hexKey(p.PublicKey))
		}
	}
	t.filter.SetPeers(byAddr)
	if uapi.Len() > 0 {
		if err := t.wg.IpcSet(uapi.String()); err != nil {
			return fmt.Errorf("set peers: %w", err)
		}
	}
	t.mu.Lock()
	t.peers = next
	t.mu.Unlock()
	t.greet(greet[false])
	if len(greet[true]) > 0 && t.ctx.Err() == nil {
		t.running.Go(func() {
			select {
			case <-time.After(greetLater):
				t.greet(greet[true])
			case <-t.ctx.Done():
			}
		})
	}
	return nil
}

// greetLater is how long the side with the smaller key waits: both learn of each other at about the same time, and
// handshakes should not cross.
const greetLater = time.Second

// greet begins handshakes with peers that can be reached and were not yet. Without it, a peer whose other end was
// restarted would send into a session that is gone, for 15 s, before it tried anew.
func (t *Tunnel) greet(keys []string) {
	if len(keys) == 0 {
		return
	}
	shook := map[string]bool{}
	for _, p := range t.Status().Peers {
		shook[p.ID] = !p.LastHandshake.IsZero()
	}
	var uapi strings.Builder
	t.mu.Lock()
	for id, p := range t.peers {
		if shook[id] || !slices.Contains(keys, hexKey(p.PublicKey)) {
			continue
		}
		// Switching the keepalive on sends one, which needs a session; it is not wanted for longer.
		for _, seconds := range []int{25, 0} {
			fmt.Fprintf(&uapi, "public_key=%s\nupdate_only=true\npersistent_keepalive_interval=%d\n", hexKey(p.PublicKey), seconds)
		}
	}
	t.mu.Unlock()
	_ = t.wg.IpcSet(uapi.String())
}

// startAnew gives up a handshake that a crossing one has spoilt: WireGuard would not try again for 5 s. A peer with a
// session keeps it.
func (t *Tunnel) startAnew(key device.NoisePublicKey) {
	t.set.Lock()
	defer t.set.Unlock()
	if t.ctx.Err() != nil {
		return
	}
	var uapi strings.Builder
	t.mu.Lock()
	for _, p := range t.peers {
		if p.PublicKey == key {
			k := hexKey(p.PublicKey)
			fmt.Fprintf(&uapi, "public_key=%s\nremove=true\npublic_key=%s\nendpoint=peer:%s\nreplace_allowed_ips=true\n", k, k, k)
			for _, a := range p.Addrs {
				fmt.Fprintf(&uapi, "allowed_ip=%s\n", netip.PrefixFrom(a, a.BitLen()))
			}
		}
	}
	t.mu.Unlock()
	for _, p := range t.Status().Peers {
		if t.keyOf(p.ID) == key && !p.LastHandshake.IsZero() {
			return
		}
	}
	if uapi.Len() == 0 || t.wg.IpcSet(uapi.String()) != nil {
		return
	}
	t.greet([]string{hexKey(key)})
}

// callBack begins a handshake with a peer whose own was refused. The session that may be there stays until the new one is.
func (t *Tunnel) callBack(key device.NoisePublicKey) {
	t.set.Lock()
	defer t.set.Unlock()
	if p := t.wg.LookupPeer(key); p != nil && t.ctx.Err() == nil {
		_ = p.SendHandshakeInitiation(false) // its error was logged
	}
}

func (t *Tunnel) keyOf(id string) [32]byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.peers[id].PublicKey
}

// checkPeers refuses what would take another's place, and leaves out endpoints inside the overlay: the tunnel would
// carry itself.
func (t *Tunnel) checkPeers(peers []Peer) (map[string]Peer, map[netip.Addr]string, error) {
	byID, byKey, byAddr := map[string]Peer{}, map[[32]byte]string{}, map[netip.Addr]string{}
	for _, p := range peers {
		if _, twice := byID[p.ID]; twice || p.ID == "" {
			return nil, nil, fmt.Errorf("the peer id %q is given twice or empty", p.ID)
		}
		if other, twice := byKey[p.PublicKey]; twice {
			return nil, nil, fmt.Errorf("peers %s and %s have the same key", other, p.ID)
		}
		byKey[p.PublicKey] = p.ID
		var addrs []netip.Addr
		for _, a := range p.Addrs {
			a = a.Unmap()
			if other, twice := byAddr[a]; twice {
				return nil, nil, fmt.Errorf("peers %s and %s have the same address %s", other, p.ID, a)
			}
			if a == t.cfg.Addr4 || a == t.cfg.Addr6 {
				return nil, nil, fmt.Errorf("peer %s has this machine's own address %s", p.ID, a)
			}
			byAddr[a] = p.ID
			addrs = append(addrs, a)
		}
		var eps []netip.AddrPort
		if t.cfg.Resume != nil {
			if ep, ok := t.cfg.Resume.Endpoints[p.ID]; ok {
				eps = append(eps, ep)
			}
		}
		for _, e := range p.Endpoints {
			e = netip.AddrPortFrom(e.Addr().Unmap(), e.Port())
			if e.IsValid() && e.Port() != 0 && !t.inOverlay(e.Addr()) && !slices.Contains(eps, e) {
				eps = append(eps, e)
			}
		}
		p.Addrs, p.Endpoints = addrs, eps
		byID[p.ID] = p
	}
	return byID, byAddr, nil
}

func (t *Tunnel) inOverlay(a netip.Addr) bool {
	return t.cfg.Overlay4.IsValid() && t.cfg.Overlay4.Contains(a) || t.cfg.Overlay6.IsValid() && t.cfg.Overlay6.Contains(a) ||
		a == t.cfg.Addr4 || a == t.cfg.Addr6
}
