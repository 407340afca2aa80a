// Package netmaptest is a small management server for tests: it enrols machines, signs the maps that a test makes,
// and keeps what machines send. It checks the machine's proof on every request, as the real one does.
package netmaptest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/proof"
	"lanyard/mgmt/api/reason"
)

// Network is the id of the server's network.
const Network = "nlanyardtest"

// Server is a management server whose test decides what it says.
type Server struct {
	*httptest.Server
	Key ed25519.PrivateKey // signs maps

	mu      sync.Mutex
	changed *sync.Cond
	peers   map[string]api.EnrollRequest // by id
	conns   map[string]*websocket.Conn
	maps    map[string]*api.SignedMap // newest, by peer
	acks    map[string][]api.Ack
	self    map[string]api.SelfUpdate
	have    map[string][]api.Have
	events  map[string][]audit.Event
	// forgotten are refused as machines that the server does not know
	forgotten map[string]bool
	down      bool // refuse everything
	muteAcks  bool // store events, but do not acknowledge
}

// New starts a server.
func New(t testing.TB) *Server {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		Key: key, peers: map[string]api.EnrollRequest{}, conns: map[string]*websocket.Conn{}, maps: map[string]*api.SignedMap{},
		acks: map[string][]api.Ack{}, self: map[string]api.SelfUpdate{}, have: map[string][]api.Have{}, events: map[string][]audit.Event{}, forgotten: map[string]bool{},
	}
	s.changed = sync.NewCond(&s.mu)
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+api.RouteConfig, func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(api.Config{
			Version: api.Version, MinVersion: api.MinVersion, Name: "test", Network: Network,
			MapKey: key.Public().(ed25519.PublicKey), Zone: "lanyard.internal",
		})
	})
	mux.HandleFunc("POST "+api.RouteEnroll, s.enroll)
	mux.HandleFunc("GET "+api.RouteFollow, s.follow)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		down := s.down
		s.mu.Unlock()
		if down {
			panic(http.ErrAbortHandler)
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		s.SetDown(true)
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// SetupKey is a setup key with the pin of the server's map key.
func (s *Server) SetupKey() string {
	sum := sha256.Sum256(s.Key.Public().(ed25519.PublicKey))
	return "lk_test." + base64.RawURLEncoding.EncodeToString(sum[:])[:22]
}

func (s *Server) proof(r *http.Request, body []byte) (*proof.Proof, error) {
	return proof.Verify(r.Header.Get(api.HeaderMachine), proof.Want{Method: r.Method, URL: r.URL.RequestURI(), Body: body}, time.Now())
}

func refuse(w http.ResponseWriter, status int, message string) { refuseWith(w, status, "", message) }

func refuseWith(w http.ResponseWriter, status int, code, message string) {
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(api.Error{Status: status, Code: code, Message: message})
}

func (s *Server) enroll(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	p, err := s.proof(r, body)
	var req api.EnrollRequest
	if err != nil || json.Unmarshal(body, &req) != nil || !p.Key.Equal(ed25519.PublicKey(req.MachineKey)) {
		refuse(w, http.StatusForbidden, "The proof does not fit.")
		return
	}
	id := api.NewID("p")
	s.mu.Lock()
	s.peers[id] = req
	s.mu.Unlock()
	json.NewEncoder(w).Encode(api.EnrollReply{
		PeerID: id, Name: req.Name, Network: Network, MapKey: s.Key.Public().(ed25519.PublicKey),
	})
}

func (s *Server) follow(w http.ResponseWriter, r *http.Request) {
	p, err := s.proof(r, nil)
	if err != nil {
		refuse(w, http.StatusForbidden, "The proof does not fit.")
		return
	}
	id := p.Subject
	s.mu.Lock()
	forgotten := s.forgotten[id]
	s.mu.Unlock()
	if forgotten {
		refuseWith(w, http.StatusForbidden, string(reason.Removed), "This machine is not enrolled here (any more).")
		return
	}
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer ws.CloseNow()
	ws.SetReadLimit(8 << 20)
	s.mu.Lock()
	if s.down { // since the request came
		s.mu.Unlock()
		return
	}
	s.conns[id] = ws
	s.changed.Broadcast()
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.conns[id] == ws {
			delete(s.conns, id)
			s.changed.Broadcast()
		}
	}()
	for {
		_, b, err := ws.Read(r.Context())
		if err != nil {
			return
		}
		var up api.Up
		if json.Unmarshal(b, &up) != nil {
			return
		}
		s.take(r, ws, id, up)
	}
}

func (s *Server) take(r *http.Request, ws *websocket.Conn, id string, up api.Up) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.changed.Broadcast()
	switch {
	case up.Have != nil:
		s.have[id] = append(s.have[id], *up.Have)
		if m := s.maps[id]; m != nil {
			var v api.Map
			if err := json.Unmarshal(m.Map, &v); err != nil || v.Epoch != up.Have.Epoch || v.Version != up.Have.Version {
				send(r, ws, api.Down{Map: m})
			}
		}
	case up.Ack != nil:
		s.acks[id] = append(s.acks[id], *up.Ack)
	case up.Self != nil:
		s.self[id] = *up.Self
	case up.Audit != nil:
		var ids []string
		for _, line := range up.Audit {
			var e audit.Event
			if json.Unmarshal(line, &e) == nil {
				s.events[id] = append(s.events[id], e)
				ids = append(ids, e.ID)
			}
		}
		if !s.muteAcks {
			send(r, ws, api.Down{AuditAck: ids})
		}
	}
}

func send(r *http.Request, ws *websocket.Conn, d api.Down) {
	b, err := json.Marshal(d)
	if err == nil {
		_ = ws.Write(r.Context(), websocket.MessageText, b)
	}
}

// Sign signs a map with the server's key.
func (s *Server) Sign(m *api.Map) *api.SignedMap { return Sign(s.Key, m) }

// Sign signs a map.
func Sign(key ed25519.PrivateKey, m *api.Map) *api.SignedMap {
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return &api.SignedMap{Map: b, Sig: ed25519.Sign(key, api.MapMessage(b))}
}

// Push signs m, keeps it as the newest of its peer and sends it when the peer follows.
func (s *Server) Push(m *api.Map) { s.PushSigned(m.Self.ID, s.Sign(m)) }

// PushSigned is Push for a map that is signed already, or badly.
func (s *Server) PushSigned(peer string, m *api.SignedMap) {
	s.mu.Lock()
	s.maps[peer] = m
	ws := s.conns[peer]
	s.mu.Unlock()
	if ws != nil { // else it gets the newest when it says which one it has
		tell(ws, api.Down{Map: m})
	}
}

// Send sends a message to a peer that follows, or is about to: it calls itself connected a moment before it follows here.
func (s *Server) Send(t testing.TB, peer string, d api.Down) {
	t.Helper()
	s.Wait(t, peer, "it follows", func(st State) bool { return st.Following })
	s.mu.Lock()
	ws := s.conns[peer]
	s.mu.Unlock()
	if ws == nil {
		t.Fatalf("%s has just gone", peer)
	}
	tell(ws, d)
}

func tell(ws *websocket.Conn, d api.Down) {
	b, err := json.Marshal(d)
	if err != nil {
		panic(err)
	}
	_ = ws.Write(context.Background(), websocket.MessageText, b)
}

// SetDown makes the server break every connection, and new ones.
func (s *Server) SetDown(down bool) {
	s.mu.Lock()
	s.down = down
	conns := s.conns
	if down {
		s.conns = map[string]*websocket.Conn{}
	}
	s.mu.Unlock()
	if down {
		for _, c := range conns {
			c.CloseNow()
		}
	}
}

// Forget makes the server know a machine no more, as one that was put back from a backup of before.
func (s *Server) Forget(peer string) {
	s.mu.Lock()
	s.forgotten[peer] = true
	delete(s.peers, peer)
	conn := s.conns[peer]
	s.mu.Unlock()
	if conn != nil {
		conn.CloseNow()
	}
}

// MuteAcks stops or resumes acknowledgements of audit events.
func (s *Server) MuteAcks(mute bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.muteAcks = mute
}

// State is what a peer sent.
type State struct {
	Following bool
	Acks      []api.Ack
	Have      []api.Have
	Self      api.SelfUpdate
	Events    []audit.Event
}

// Wait waits until ok is true of what peer sent.
func (s *Server) Wait(t testing.TB, peer, what string, ok func(State) bool) State {
	t.Helper()
	expired := false
	timer := time.AfterFunc(time.Minute, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		expired = true
		s.changed.Broadcast()
	})
	defer timer.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		st := State{Following: s.conns[peer] != nil, Acks: s.acks[peer], Have: s.have[peer], Self: s.self[peer], Events: s.events[peer]}
		if ok(st) {
			return st
		}
		if expired {
			t.Fatalf("waited in vain: %s; it sent %+v", what, st)
		}
		s.changed.Wait()
	}
}

// Enrolled lists the machines that enrolled, by id.
func (s *Server) Enrolled() map[string]api.EnrollRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]api.EnrollRequest{}
	for id, r := range s.peers {
		out[id] = r
	}
	return out
}

// Overlay is the overlay of the maps that Map makes.
func Overlay() (four, six netip.Prefix) {
	return netip.MustParsePrefix("100.110.0.0/16"), netip.MustParsePrefix("fd6c:616e:7961::/48")
}

// Map makes a map of version for self, with the peers that it may speak to.
func Map(version uint64, self api.Peer, peers ...api.Peer) *api.Map {
	four, six := Overlay()
	m := &api.Map{
		Format: 1, Network: Network, Epoch: 1, Version: version, IssuedAt: time.Now().UTC().Truncate(time.Millisecond),
		Overlay4: four, Overlay6: six, Zone: "lanyard.internal", Self: self, Peers: peers, Admit: []string{},
	}
	for _, p := range peers {
		m.Admit = append(m.Admit, p.ID)
	}
	return m
}

// Peer makes a peer of its id, name and number, with keys of its own.
func Peer(id, name string, n byte) (api.Peer, ed25519.PrivateKey) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	wg := make([]byte, 32)
	rand.Read(wg)
	six := [16]byte{0xfd, 0x6c, 0x61, 0x6e, 0x79, 0x61, 15: n}
	return api.Peer{
		ID: id, Name: name, ShortName: true, WGKey: wg, MachineKey: pub, ServesSSH: true,
		Addr4: netip.AddrFrom4([4]byte{100, 110, 0, n}), Addr6: netip.AddrFrom16(six),
	}, key
}
