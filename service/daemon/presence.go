package daemon

import (
	"time"

	"lanyard/mgmt/api"
	"lanyard/service/tunnel"
)

// word is what the management server said of a machine: that it is connected, or not. It is for people to see, and
// nothing is decided by it.
type word struct {
	known  bool // something was said
	online bool
	at     time.Time
	rx     uint64 // bytes that the tunnel had from the machine by then
}

// presence takes over what the management server says, of machines of the map.
func (n *network) presence(p *api.Presence) {
	flow := map[string]tunnel.PeerStatus{}
	if tun := n.tunnel(); tun != nil {
		flow = byID(tun.Status())
	}
	m := n.store.Current()
	if m == nil {
		return
	}
	now := n.d.now()
	n.mu.Lock()
	said := make(map[string]word, len(m.Peers))
	for _, peer := range m.Peers {
		said[peer.ID] = n.present[peer.ID]
	}
	note := func(ids []string, online bool) {
		for _, id := range ids {
			if _, ok := said[id]; ok {
				said[id] = word{known: true, online: online, at: now, rx: flow[id].RxBytes}
			}
		}
	}
	note(p.Online, true)
	note(p.Offline, false)
	n.present = said
	n.mu.Unlock()
	n.d.notify()
}

// forget drops what was said of machines that m does not have: when they come back it is of then, and the management
// server's new word takes a moment. The caller holds n.mu.
func (n *network) forget(m *api.Map) {
	said := make(map[string]word, len(m.Peers)) // status may be reading the other one
	for _, peer := range m.Peers {
		if w, ok := n.present[peer.ID]; ok {
			said[peer.ID] = w
		}
	}
	n.present = said
}

// about is what the word says, nil for nothing. A machine that the tunnel heard of since it was called absent is there,
// and has only lost the management server.
func (w word) about(t tunnel.PeerStatus) *bool {
	if !w.known || !w.online && (t.RxBytes != w.rx || t.LastHandshake.After(w.at)) {
		return nil
	}
	return &w.online
}

func byID(s tunnel.Status) map[string]tunnel.PeerStatus {
	flow := make(map[string]tunnel.PeerStatus, len(s.Peers))
	for _, p := range s.Peers {
		flow[p.ID] = p
	}
	return flow
}
