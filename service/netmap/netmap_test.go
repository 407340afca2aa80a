package netmap

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/client"
	"lanyard/service/netmap/netmaptest"
	"lanyard/service/spool"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func keys(t testing.TB) (Pin, ed25519.PrivateKey) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return Pin{Key: pub, Network: netmaptest.Network, Peer: "pself"}, key
}

func hostKey(t testing.TB, by ed25519.PrivateKey) api.SignedKey {
	t.Helper()
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return api.SignedKey{Key: k.Marshal(), Sig: ed25519.Sign(by, api.HostKeyMessage(k.Marshal()))}
}

func TestMapThatBreaksARuleIsRefused(t *testing.T) {
	pin, key := keys(t)
	self, _ := netmaptest.Peer("pself", "laptop", 2)
	web, _ := netmaptest.Peer("pweb", "web-1", 3)
	db, _ := netmaptest.Peer("pdb", "db-1", 4)
	cases := []struct {
		name  string
		spoil func(*api.Map)
		says  string
	}{
		{"nothing is wrong", func(*api.Map) {}, ""},
		{"newer format", func(m *api.Map) { m.Format = 2 }, "newer version"},
		{"another network", func(m *api.Map) { m.Network = "other" }, "network"},
		{"another machine", func(m *api.Map) { m.Self.ID = "pother" }, "machine"},
		{"no overlay", func(m *api.Map) { m.Overlay4, m.Overlay6 = netip.Prefix{}, netip.Prefix{} }, "overlay"},
		{"no issue time", func(m *api.Map) { m.IssuedAt = time.Time{} }, "issued"},
		{"a zone with blanks", func(m *api.Map) { m.Zone = "a b" }, "zone"},
		{"a negative age", func(m *api.Map) { m.MaxMapAge = -1 }, "negative"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := netmaptest.Map(1, self, web)
			m.Peers = slices.Clone(m.Peers)
			c.spoil(m)
			_, err := Parse(netmaptest.Sign(key, m), pin)
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("Parse says %v, want %q", err, c.says)
			}
		})
	}
	for _, c := range []struct {
		name  string
		spoil func(*api.Map)
	}{
		{"a name for ssh_config", func(m *api.Map) { m.Peers[0].Name = "x\n\tProxyCommand evil" }},
		{"a name with a star", func(m *api.Map) { m.Peers[0].Name = "*" }},
		{"an id with a slash", func(m *api.Map) { m.Peers[0].ID = "../../x" }},
		{"two of a name", func(m *api.Map) { m.Peers[0].Name = m.Self.Name }},
		{"two of an id", func(m *api.Map) { m.Peers = append(m.Peers, m.Peers[0]) }},
		{"two of an address", func(m *api.Map) { m.Peers[0].Addr4 = m.Self.Addr4 }},
		{"two of a WireGuard key", func(m *api.Map) { m.Peers[0].WGKey = m.Self.WGKey }},
		{"an address of the LAN", func(m *api.Map) { m.Peers[0].Addr4 = netip.MustParseAddr("192.168.1.1") }},
		{"a short key", func(m *api.Map) { m.Peers[0].WGKey = m.Peers[0].WGKey[:31] }},
		{"no address", func(m *api.Map) { m.Peers[0].Addr4, m.Peers[0].Addr6 = netip.Addr{}, netip.Addr{} }},
	} {
		t.Run(c.name+" costs that machine its place", func(t *testing.T) {
			m := netmaptest.Map(1, self, web, db)
			m.Peers = slices.Clone(m.Peers)
			c.spoil(m)
			got, err := Parse(netmaptest.Sign(key, m), pin)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, p := range got.Peers {
				names = append(names, p.Name)
			}
			if want := []string{"db-1"}; c.name != "two of an id" && !slices.Equal(names, want) {
				t.Errorf("machines %q, want %q", names, want)
			} else if c.name == "two of an id" && !slices.Equal(names, []string{"web-1", "db-1"}) {
				t.Errorf("machines %q, want each once", names)
			}
		})
	}
	good := netmaptest.Sign(key, netmaptest.Map(1, self, web))
	_, foreign := keys(t)
	for name, s := range map[string]*api.SignedMap{
		"a foreign key": netmaptest.Sign(foreign, netmaptest.Map(1, self, web)),
		"one bit":       {Map: append([]byte(" "), good.Map...), Sig: good.Sig},
		"no signature":  {Map: good.Map},
		"nothing":       nil,
	} {
		if _, err := Parse(s, pin); err == nil || !strings.Contains(err.Error(), "signature") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Parse(good, Pin{Network: pin.Network, Peer: pin.Peer}); err == nil {
		t.Error("a map was believed without a pinned key")
	}
}

func TestHostKeyThatItsMachineDidNotSignIsLeftOut(t *testing.T) {
	pin, key := keys(t)
	self, selfKey := netmaptest.Peer("pself", "laptop", 2)
	web, webKey := netmaptest.Peer("pweb", "web-1", 3)
	good := hostKey(t, webKey)
	web.HostKeys = []api.SignedKey{hostKey(t, selfKey), good, {Key: []byte("junk"), Sig: ed25519.Sign(webKey, api.HostKeyMessage([]byte("junk")))}}
	m, err := Parse(netmaptest.Sign(key, netmaptest.Map(1, self, web)), pin)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Peers[0].HostKeys; len(got) != 1 || !slices.Equal(got[0].Key, good.Key) {
		t.Errorf("%d host keys are believed, want the one that web-1's machine key signed", len(got))
	}
}

func TestOlderMapIsRefusedAlsoAfterARestart(t *testing.T) {
	pin, key := keys(t)
	self, _ := netmaptest.Peer("pself", "laptop", 2)
	path := filepath.Join(t.TempDir(), "map.json")
	at := func(epoch, version uint64, issued int) *api.SignedMap {
		m := netmaptest.Map(version, self)
		m.Epoch, m.IssuedAt = epoch, time.Unix(int64(issued), 0).UTC()
		return netmaptest.Sign(key, m)
	}
	s, _, err := Open(path, pin, Place{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	keep := func(signed *api.SignedMap) {
		t.Helper()
		m, same, err := s.Check(signed)
		if err != nil || same {
			t.Fatalf("a newer map: same %v, %v", same, err)
		}
		if err := s.Keep(signed, m); err != nil {
			t.Fatal(err)
		}
	}
	keep(at(1, 5, 1000))
	keep(at(1, 5, 1100)) // the same, issued anew
	keep(at(2, 1, 1200)) // the server was restored from a backup and said so
	for range 2 {
		for _, old := range []*api.SignedMap{at(1, 9, 2000), at(2, 0, 2000), at(2, 1, 1199)} {
			if _, _, err := s.Check(old); !errors.Is(err, ErrOlder) {
				t.Errorf("an older map: %v, want ErrOlder", err)
			}
		}
		if m, same, err := s.Check(at(2, 1, 1200)); err != nil || !same || m != s.Current() {
			t.Errorf("the map in force: same %v, %v", same, err)
		}
		if h := s.Have(); h.Epoch != 2 || h.Version != 1 {
			t.Errorf("have %+v", h)
		}
		if s, _, err = Open(path, pin, Place{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the stored map has mode %v (%v)", fi.Mode(), err)
	}
}

func TestUnusableStoredMapIsMovedAsideAndToldOf(t *testing.T) {
	pin, key := keys(t)
	self, _ := netmaptest.Peer("pself", "laptop", 2)
	newer := netmaptest.Map(1, self)
	newer.Format = 9
	whole, _ := json.Marshal(netmaptest.Sign(key, netmaptest.Map(1, self)))
	future, _ := json.Marshal(netmaptest.Sign(key, newer))
	for name, content := range map[string][]byte{"truncated": whole[:len(whole)/2], "empty": nil, "garbled": []byte("\x00\x01"), "newer": future} {
		path := filepath.Join(t.TempDir(), "map.json")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		s, notice, err := Open(path, pin, Place{}, nil)
		if err != nil || s.Current() != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if notice == "" || strings.Contains(notice, "\n") || name == "newer" && !strings.Contains(notice, "upgrade") {
			t.Errorf("%s: the notice is %q", name, notice)
		}
		if b, err := os.ReadFile(path + ".unusable"); err != nil || string(b) != string(content) {
			t.Errorf("%s: what lay there is not kept (%v)", name, err)
		}
	}
}

// peer is a follower with its spool and what it put in force.
type peer struct {
	*Follower
	spool *spool.Spool
	dir   string

	mu      sync.Mutex
	applied []uint64
	end     context.CancelFunc
	done    chan error
}

func join(t *testing.T, srv *netmaptest.Server, dir string) *peer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return rejoin(t, srv, dir, key)
}

func rejoin(t *testing.T, srv *netmaptest.Server, dir string, key ed25519.PrivateKey) *peer {
	t.Helper()
	c, err := client.New(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	store, _, err := Open(filepath.Join(dir, "map.json"), Pin{Key: srv.Key.Public().(ed25519.PublicKey), Network: netmaptest.Network, Peer: "pself"}, Place{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	sp, err := spool.Open(spool.Config{Dir: filepath.Join(dir, "spool"), Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{spool: sp, dir: dir, done: make(chan error, 1)}
	p.Follower = &Follower{
		Client: c, Machine: client.Machine{Key: key, Subject: "pself"}, Store: store, Outbox: sp, Log: quiet(),
		Apply: func(m *api.Map) []string {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.applied = append(p.applied, m.Version)
			return []string{fmt.Sprint("s", m.Version)}
		},
		Self:   func() api.SelfUpdate { return api.SelfUpdate{Release: "test", ServesSSH: true} },
		Report: func(bool, error) {},
	}
	ctx, cancel := context.WithCancel(t.Context())
	p.end = cancel
	go func() { p.done <- p.Run(ctx) }()
	t.Cleanup(func() { p.stop() })
	return p
}

func (p *peer) stop() error {
	p.end()
	err := <-p.done
	p.done <- err
	p.spool.Close()
	return err
}

func (p *peer) versions() []uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.applied)
}

func acked(v uint64) func(netmaptest.State) bool {
	return func(s netmaptest.State) bool {
		return slices.ContainsFunc(s.Acks, func(a api.Ack) bool { return a.Version == v })
	}
}

func TestMapsAreFollowedAndAcknowledgedWithWhatEnded(t *testing.T) {
	srv := netmaptest.New(t)
	self, _ := netmaptest.Peer("pself", "laptop", 2)
	p := join(t, srv, t.TempDir())
	st := srv.Wait(t, "pself", "it follows and tells of itself", func(s netmaptest.State) bool { return s.Following && s.Self.Release != "" })
	if !st.Self.ServesSSH || len(st.Have) != 1 || st.Have[0] != (api.Have{}) {
		t.Errorf("it said %+v", st)
	}
	srv.Push(netmaptest.Map(1, self))
	st = srv.Wait(t, "pself", "version 1 is acknowledged", acked(1))
	if a := st.Acks[len(st.Acks)-1]; !slices.Equal(a.Ended, []string{"s1"}) {
		t.Errorf("the acknowledgement is %+v", a)
	}
	if b, err := os.ReadFile(filepath.Join(p.dir, "map.json")); err != nil || len(b) == 0 {
		t.Errorf("an acknowledged map is not on disk: %v", err)
	}
}

func TestReplayedOrForgedMapIsNeverPutInForce(t *testing.T) {
	srv := netmaptest.New(t)
	self, _ := netmaptest.Peer("pself", "laptop", 2)
	p := join(t, srv, t.TempDir())
	srv.Wait(t, "pself", "it follows", func(s netmaptest.State) bool { return s.Following })
	old := netmaptest.Map(1, self)
	srv.Push(old)
	srv.Wait(t, "pself", "version 1", acked(1))
	srv.Push(netmaptest.Map(2, self))
	srv.Wait(t, "pself", "version 2", acked(2))
	_, evil, _ := ed25519.GenerateKey(rand.Reader)
	for _, bad := range []*api.SignedMap{srv.Sign(old), netmaptest.Sign(evil, netmaptest.Map(3, self))} {
		n := len(srv.Wait(t, "pself", "nothing", func(netmaptest.State) bool { return true }).Have)
		srv.Send(t, "pself", api.Down{Map: bad})
		srv.Wait(t, "pself", "it hangs up on such a server and comes back", func(s netmaptest.State) bool { return len(s.Have) > n })
	}
	srv.Push(netmaptest.Map(4, self))
	srv.Wait(t, "pself", "version 4", acked(4))
	if got := p.versions(); !slices.Equal(got, []uint64{1, 2, 4}) {
		t.Errorf("in force were %v, want 1 2 4", got)
	}
}

func TestFollowerComesBackAndNamesWhatItHas(t *testing.T) {
	srv := netmaptest.New(t)
	self, _ := netmaptest.Peer("pself", "laptop", 2)
	p := join(t, srv, t.TempDir())
	srv.Wait(t, "pself", "it follows", func(s netmaptest.State) bool { return s.Following })
	srv.Push(netmaptest.Map(7, self))
	srv.Wait(t, "pself", "version 7", acked(7))
	srv.SetDown(true)
	srv.Wait(t, "pself", "it is gone", func(s netmaptest.State) bool { return !s.Following })
	srv.SetDown(false)
	st := srv.Wait(t, "pself", "it is back", func(s netmaptest.State) bool { return s.Following && len(s.Have) == 2 })
	if st.Have[1] != (api.Have{Epoch: 1, Version: 7}) {
		t.Errorf("it has %+v", st.Have[1])
	}
	if got := p.versions(); len(got) != 1 {
		t.Errorf("an unchanged map was put in force again: %v", got)
	}
}

func TestEventsAreSentUntilTheyAreAcknowledged(t *testing.T) {
	srv := netmaptest.New(t)
	p := join(t, srv, t.TempDir())
	srv.Wait(t, "pself", "it follows", func(s netmaptest.State) bool { return s.Following })
	srv.MuteAcks(true)
	for i := range 3 {
		if err := p.spool.Append(audit.Event{Type: audit.SessionStart, Session: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	srv.Wait(t, "pself", "an event arrives", func(s netmaptest.State) bool { return len(s.Events) > 0 })
	if n := p.spool.Status().Pending; n != 3 {
		t.Errorf("%d events wait while none was acknowledged, want 3", n)
	}
	srv.MuteAcks(false)
	srv.SetDown(true)
	srv.SetDown(false)
	srv.Wait(t, "pself", "every event arrives", func(s netmaptest.State) bool {
		ids := map[string]bool{}
		for _, e := range s.Events {
			ids[e.ID] = true
		}
		return len(ids) == 3
	})
	for end := time.Now().Add(time.Minute); p.spool.Status().Pending != 0; {
		if time.Now().After(end) {
			t.Fatal("events that were acknowledged still wait")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestRemovedMachineStops(t *testing.T) {
	srv := netmaptest.New(t)
	p := join(t, srv, t.TempDir())
	srv.Wait(t, "pself", "it follows", func(s netmaptest.State) bool { return s.Following })
	srv.Send(t, "pself", api.Down{Gone: "An administrator removed this machine."})
	select {
	case err := <-p.done:
		p.done <- err
		var gone *GoneError
		if !errors.As(err, &gone) || gone.Sentence != "An administrator removed this machine." {
			t.Errorf("it stopped with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it goes on")
	}
}

func FuzzParse(f *testing.F) {
	pin, key := keys(f)
	self, _ := netmaptest.Peer("pself", "laptop", 2)
	web, _ := netmaptest.Peer("pweb", "web-1", 3)
	b, _ := json.Marshal(netmaptest.Map(1, self, web))
	f.Add(b)
	f.Add([]byte(`{"format":1,"self":{"id":"pself"},"peers":[{}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(&api.SignedMap{Map: b, Sig: ed25519.Sign(key, api.MapMessage(b))}, pin)
		if err != nil {
			return
		}
		for _, p := range append(m.Peers, m.Self) {
			if api.CheckName(p.Name) != nil || len(p.WGKey) != 32 {
				t.Fatalf("a peer %+v was let through", p)
			}
		}
		placeOf(m).compare(placeOf(m))
	})
}

// A map that could not be written is in force, and is acknowledged only once it is: what the server counts as reached
// survives a restart.
func TestMapThatFindsNoRoomIsNotAcknowledged(t *testing.T) {
	srv := netmaptest.New(t)
	self, _ := netmaptest.Peer("pself", "laptop", 2)
	p := join(t, srv, t.TempDir())
	srv.Wait(t, "pself", "it follows", func(s netmaptest.State) bool { return s.Following })
	srv.Push(netmaptest.Map(1, self))
	srv.Wait(t, "pself", "version 1", acked(1))
	file := filepath.Join(p.dir, "map.json")
	if err := errors.Join(os.Remove(file), os.MkdirAll(filepath.Join(file, "in-the-way"), 0o700)); err != nil {
		t.Fatal(err)
	}
	n := len(srv.Wait(t, "pself", "it follows", func(netmaptest.State) bool { return true }).Have)
	srv.Push(netmaptest.Map(2, self))
	st := srv.Wait(t, "pself", "it comes back twice", func(s netmaptest.State) bool { return len(s.Have) > n+1 })
	if slices.ContainsFunc(st.Acks, func(a api.Ack) bool { return a.Version == 2 }) || st.Have[len(st.Have)-1].Version != 1 {
		t.Errorf("a map that is not on disk was acknowledged: %+v", st)
	}
	if got := p.versions(); !slices.Equal(got, []uint64{1, 2}) {
		t.Errorf("in force were %v, want 1 and 2, each once", got)
	}
	if err := os.RemoveAll(file); err != nil {
		t.Fatal(err)
	}
	srv.Wait(t, "pself", "version 2", acked(2))
	if got := p.versions(); !slices.Equal(got, []uint64{1, 2}) {
		t.Errorf("in force were %v, want 1 and 2, each once", got)
	}
}

// A map file that is damaged, replaced by an older one or gone does not make this machine believe an older map.
func TestLostMapFileForgetsNoVersion(t *testing.T) {
	for name, spoil := range map[string]func(path string, older []byte) error{
		"garbled": func(path string, _ []byte) error { return os.WriteFile(path, []byte("{"), 0o600) },
		"gone":    func(path string, _ []byte) error { return os.Remove(path) },
		"older":   func(path string, older []byte) error { return os.WriteFile(path, older, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			pin, key := keys(t)
			self, _ := netmaptest.Peer("pself", "laptop", 2)
			signed := func(version uint64) *api.SignedMap {
				m := netmaptest.Map(version, self)
				b, err := json.Marshal(m)
				if err != nil {
					t.Fatal(err)
				}
				return &api.SignedMap{Map: b, Sig: ed25519.Sign(key, api.MapMessage(b))}
			}
			path := filepath.Join(t.TempDir(), "map.json")
			var place Place // as state.json has it
			open := func() *Store {
				s, _, err := Open(path, pin, place, func(p Place) error { place = p; return nil })
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			s := open()
			var older []byte
			for _, version := range []uint64{6, 7} {
				m, same, err := s.Check(signed(version))
				if err != nil || same {
					t.Fatal(err, same)
				}
				if err := s.Keep(signed(version), m); err != nil {
					t.Fatal(err)
				}
				if version == 6 {
					if older, err = os.ReadFile(path); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := spoil(path, older); err != nil {
				t.Fatal(err)
			}
			s = open()
			if m := s.Current(); m != nil {
				t.Fatalf("version %d is in force", m.Version)
			}
			if _, _, err := s.Check(signed(6)); !errors.Is(err, ErrOlder) {
				t.Errorf("an older map: %v", err)
			}
			if s.Have() != (api.Have{}) {
				t.Errorf("the server is told of a map that is not here: %+v", s.Have())
			}
			for _, version := range []uint64{7, 8} { // the same is taken again, though nothing changed since
				m, same, err := s.Check(signed(version))
				if err != nil || same {
					t.Fatalf("version %d: %v, same %v", version, err, same)
				}
				if err := s.Keep(signed(version), m); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
