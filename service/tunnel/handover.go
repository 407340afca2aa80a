package tunnel

import (
	"errors"
	"net/netip"
	"os"
)

// Handover is what a process gives to the one that replaces it, so that open connections go on: the interface and the
// listening sockets, as descriptors, and where the peers are. The flow table is not in it: the new process reads it off
// the kernel's socket table. Nor are WireGuard's session keys: it shakes hands with the peers anew.
type Handover struct {
	TUN       *os.File
	Listeners []*os.File // TCP, on the overlay addresses; may be empty
	Port      uint16     // UDP
	Endpoints map[string]netip.AddrPort
}

// Close closes the files of a handover that was not used.
func (h *Handover) Close() error {
	var errs []error
	if h.TUN != nil {
		errs = append(errs, h.TUN.Close())
	}
	for _, f := range h.Listeners {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// Handover stops carrying packets and gives the tunnel away. The connections that Listener yielded stay open and usable,
// since they are the kernel's: the caller goes on serving them until they end, and then calls Close. Connections that
// ended in the in-process stack break. Only Linux, and only kernel mode.
func (t *Tunnel) Handover() (*Handover, error) {
	if t.user != nil {
		return nil, errors.New("hand the tunnel over: a tunnel in userspace mode lives in its process")
	}
	h := &Handover{Endpoints: map[string]netip.AddrPort{}}
	status := t.Status()
	h.Port = status.ListenPort
	for _, p := range status.Peers {
		if p.Endpoint.IsValid() {
			h.Endpoints[p.ID] = p.Endpoint
		}
	}
	fd, err := dupTUN(t.native)
	if err != nil {
		return nil, err
	}
	h.TUN = os.NewFile(uintptr(fd), "tun")
	t.mu.Lock()
	l := t.listener
	t.mu.Unlock()
	if l != nil {
		for _, k := range l.kernelListeners() {
			f, err := k.File()
			if err != nil {
				_ = h.Close()
				return nil, err
			}
			h.Listeners = append(h.Listeners, f)
		}
	}
	// From here on the UDP port is free for the new process. Datagrams that come now are lost, which TCP mends.
	return h, t.Close()
}
