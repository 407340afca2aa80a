package daemon

import (
	"testing"
	"time"

	"lanyard/mgmt/api"
	"lanyard/service/ipc"
	"lanyard/service/netmap/netmaptest"
	"lanyard/service/tunnel"
)

// stand is what a status says of each machine: "online", "offline" or "unknown", in the order of their names.
func stand(s *ipc.Status) (out string) {
	for _, p := range s.Peers {
		switch {
		case p.Online == nil:
			out += "unknown "
		case *p.Online:
			out += "online "
		default:
			out += "offline "
		}
	}
	return out
}

func TestPresenceIsTheManagementServersWordWhileItIsThere(t *testing.T) {
	b := newBox(t)
	self, err := b.up(ipc.UpRequest{URL: b.srv.URL, SetupKey: b.srv.SetupKey()})
	if err != nil {
		t.Fatal(err)
	}
	web, _ := netmaptest.Peer("pweb", "web-1", 3)
	db, _ := netmaptest.Peer("pdb", "web-2", 4)
	b.srv.Push(netmaptest.Map(2, self, web, db))
	says := func(want string) {
		t.Helper()
		b.wait(want, func(s *ipc.Status) bool { return stand(s) == want })
	}
	tell := func(p api.Presence) { b.srv.Send(t, self.ID, api.Down{Presence: &p}) }
	says("unknown unknown ") // an older management server says nothing

	events, stop := b.daemon.watch(), time.After(time.Minute)
	tell(api.Presence{Online: []string{"pweb", "pelse"}})
	select { // who follows the events hears of it
	case <-events:
	case <-stop:
		t.Fatal("nobody was told")
	}
	says("online unknown ")
	tell(api.Presence{Offline: []string{"pdb"}})
	says("online offline ")
	tell(api.Presence{Online: []string{"pdb"}, Offline: []string{"pweb"}})
	says("offline online ")
	// Of a machine that left the map and came back, the word of then is worth nothing.
	b.srv.Push(netmaptest.Map(3, self, web))
	says("offline ")
	tell(api.Presence{Online: []string{"pweb", "pdb"}})
	says("online ")
	b.srv.Push(netmaptest.Map(4, self, web, db))
	says("online unknown ")

	tell(api.Presence{Online: []string{"pdb"}})
	says("online online ")
	b.srv.Push(netmaptest.Map(5, self, web))
	says("online ")
	b.srv.Push(netmaptest.Map(6, self, web, db)) // before the server says anything
	says("online unknown ")

	b.srv.SetDown(true)
	b.wait("unknown", func(s *ipc.Status) bool { return s.State == ipc.StateOffline && stand(s) == "unknown unknown " })
	b.srv.SetDown(false)
	b.wait("connected", connected)
	says("unknown unknown ")
}

// A machine that has lost the management server, and not its network, is not called offline: the tunnel hears of it.
func TestMachineThatTheTunnelHearsOfIsNotOffline(t *testing.T) {
	at := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	then := tunnel.PeerStatus{RxBytes: 100, LastHandshake: at.Add(-time.Minute)}
	off := word{known: true, at: at, rx: 100}
	on := word{known: true, online: true, at: at, rx: 100}
	packet, handshake := then, then
	packet.RxBytes++
	handshake.LastHandshake = at.Add(time.Second)
	for name, c := range map[string]struct {
		word word
		flow tunnel.PeerStatus
		want *bool
	}{
		"nothing was said":          {word{}, then, nil},
		"offline, and silent since": {off, then, new(false)},
		"offline, and a packet":     {off, packet, nil},
		"offline, and a handshake":  {off, handshake, nil},
		"online, and silent":        {on, then, new(true)},
		"online, and a packet":      {on, packet, new(true)},
	} {
		got := c.word.about(c.flow)
		if (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
