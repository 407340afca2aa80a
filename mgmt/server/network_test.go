package server_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/client"
	"lanyard/mgmt/api/proof"
	"lanyard/mgmt/server"
	"lanyard/test/calm"
)

func hasPeer(name string) func(*api.Map) bool {
	return func(m *api.Map) bool {
		return slices.ContainsFunc(m.Peers, func(p api.Peer) bool { return p.Name == name })
	}
}

func blocked(m *api.Map) bool {
	return slices.ContainsFunc(m.Users, func(u api.MapUser) bool { return u.Blocked })
}

// The main path: join, sign in, be seen, be blocked.
func TestBlockEndsLoginAndReachesPeers(t *testing.T) {
	n := start(t)
	n.user("ann@example.org")
	n.user("bob@example.org")
	web := n.enrolled("web-1", true, "tag:web").follow(func(m *api.Map) []string {
		if blocked(m) {
			return []string{"session-1"}
		}
		return nil
	})
	laptop := n.enrolled("laptop", false).follow(nil)
	n.policy("web", "user:ann@example.org", "tag:web", "deploy")
	n.admin("PATCH", "/api/admin/peers/laptop", map[string]any{"owner": "ann@example.org", "tags": []string{}}, nil)

	m := laptop.until("web-1", hasPeer("web-1"))
	if m.Peers[0].LoginAs != "deploy" {
		t.Errorf("the map offers %q on web-1, want deploy", m.Peers[0].LoginAs)
	}
	m = web.until("a rule and laptop", func(m *api.Map) bool { return len(m.Rules) == 1 && hasPeer("laptop")(m) })
	if len(m.Admit) != 1 || m.Admit[0] != laptop.Subject || len(m.Issuers) != 1 || len(m.Issuers[0].Keys) == 0 {
		t.Errorf("the server's map: %+v", m)
	}

	ann := laptop.login("ann@example.org")
	me, err := n.api.Seen(t.Context(), ann.Login)
	if err != nil {
		t.Fatal(err)
	}
	if me.Email != "ann@example.org" || len(me.Machines) != 1 || me.Machines[0].Name != "web-1" || me.Machines[0].As[0] != "deploy" {
		t.Errorf("me: %+v", me)
	}
	bob := laptop.login("bob@example.org")
	// Ann's refresh still works after Bob's and after her own second login.
	second := laptop.login("ann@example.org")
	for _, s := range []*signIn{ann, second} {
		if r := n.refresh(s); r.ID == "" {
			t.Fatalf("refresh: %+v", r)
		} else {
			s.Fresh = r.ID
		}
		if _, err := n.api.Seen(t.Context(), s.Login); err != nil {
			t.Fatalf("seen with a fresh token: %v", err)
		}
	}

	var effect api.Effect
	calm.Within(t, 900*time.Millisecond, func() time.Duration { // in service, nobody waits for longer than a second
		if len(effect.Reached) > 0 { // late
			n.admin("POST", "/api/admin/users/ann@example.org/unblock", nil, nil)
		}
		effect = api.Effect{}
		before := time.Now()
		n.admin("POST", "/api/admin/users/ann@example.org/block", nil, &effect)
		took := time.Since(before)
		t.Logf("the block was acknowledged after %s", took)
		return took
	})
	if len(effect.Ended) != 1 || effect.Ended[0] != (api.EndedSession{Peer: "web-1", Session: "session-1"}) ||
		!slices.Equal(effect.Reached, []string{"web-1"}) || len(effect.Unreached) != 0 {
		t.Errorf("effect: %+v", effect)
	}
	web.until("the block", blocked)

	if r := n.refresh(ann); r.ID != "" || r.Error != "invalid_grant" {
		t.Errorf("refresh of a blocked person: %+v", r)
	}
	_, err = n.api.Me(t.Context(), ann.Login)
	refused(t, err, http.StatusForbidden, "blocked")
	s, err := laptop.push(api.PurposeLogin)
	if err != nil {
		t.Fatal(err)
	}
	if back := n.code(s, "ann@example.org", password); back.Get("code") != "" || back.Get("error") != "access_denied" || back.Get(api.ParamReason) != "blocked" {
		t.Errorf("a blocked person signs in: %v", back)
	}
	if s, err = laptop.push(api.PurposeLogin); err != nil {
		t.Fatal(err)
	}
	if back := n.code(s, "ann@example.org", "wrong wrong"); back.Get("code") != "" || !strings.Contains(back.Get("page"), "wrong") {
		t.Errorf("with a wrong password the block is told: %v", back)
	}
	if _, err := n.api.Seen(t.Context(), bob.Login); err != nil {
		t.Errorf("somebody else: %v", err)
	}

	n.admin("POST", "/api/admin/users/ann@example.org/unblock", nil, nil)
	again := laptop.login("ann@example.org")
	if _, err := n.api.Seen(t.Context(), again.Login); err != nil {
		t.Errorf("after the unblock: %v", err)
	}
	_, err = n.api.Me(t.Context(), ann.Login)
	refused(t, err, http.StatusUnauthorized, "revoked")
}

func TestBlockNamesPeersThatWereNotReached(t *testing.T) {
	n := start(t)
	n.user("ann@example.org")
	web := n.enrolled("web-1", true, "tag:web")
	n.policy("web", "user:ann@example.org", "tag:web", "deploy")
	var effect api.Effect
	n.admin("POST", "/api/admin/users/ann@example.org/block", nil, &effect)
	if !slices.Equal(effect.Unreached, []string{"web-1"}) {
		t.Errorf("effect: %+v", effect)
	}
	web.follow(nil).until("the block", blocked)
}

func TestLogoutRevokesTheKey(t *testing.T) {
	now := &clock{}
	n := start(t, func(c *server.Config) { c.Now = now.Now })
	n.user("ann@example.org")
	web := n.enrolled("web-1", true, "tag:web").follow(nil)
	n.policy("web", "user:ann@example.org", "tag:web", "deploy")
	ann, other := web.login("ann@example.org"), web.login("ann@example.org")
	// A thief of the refresh token has changed it for newer ones, which the person does not know of.
	thief := *ann
	for range 2 {
		now.advance(11 * time.Second) // a token that was just used answers with itself
		if r := n.refresh(&thief); r.ID == "" {
			t.Fatal("the stolen token is worth nothing; this proves nothing")
		}
	}
	effect, err := n.api.Logout(t.Context(), ann.Login, api.LogoutRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(effect.Reached, []string{"web-1"}) {
		t.Errorf("effect: %+v", effect)
	}
	web.until("the revoked key", func(m *api.Map) bool { return len(m.RevokedKeys) == 1 })
	_, err = n.api.Me(t.Context(), ann.Login)
	refused(t, err, http.StatusUnauthorized, "revoked")
	if r := n.refresh(ann); r.ID != "" {
		t.Error("the refresh token of a login that ended works")
	}
	if r := n.refresh(&thief); r.ID != "" {
		t.Error("a thief goes on refreshing after the logout")
	}
	if _, err := n.api.Me(t.Context(), other.Login); err != nil {
		t.Errorf("the other login: %v", err)
	}
	if _, err := n.api.Logout(t.Context(), other.Login, api.LogoutRequest{All: true}); err != nil {
		t.Fatal(err)
	}
	if r := n.refresh(other); r.ID != "" {
		t.Error("a refresh token works after all logins were ended")
	}
}

func TestPersonEnrolsTheirMachine(t *testing.T) {
	n := start(t)
	n.user("ann@example.org")
	n.user("root@example.org", "admin")
	for email, short := range map[string]bool{"ann@example.org": false, "root@example.org": true} {
		m := n.machine("Laptop.lan", false)
		s := m.login(email)
		body, _ := json.Marshal(m.request)
		h, err := n.api.LoginProof(s.Login, "POST", api.RouteEnroll, body)
		if err != nil {
			t.Fatal(err)
		}
		m.took(n.api.EnrollBody(t.Context(), m.Machine, body, h))
		self := m.follow(nil).until("itself", func(*api.Map) bool { return true }).Self
		if self.Owner.IsZero() || self.ShortName != short || !strings.HasPrefix(self.Name, "laptop") {
			t.Errorf("enrolled by %s: %+v", email, self)
		}
	}
	var peers []struct{ Name, Owner string }
	n.admin("GET", "/api/admin/peers", nil, &peers)
	if len(peers) != 2 || peers[0].Name == peers[1].Name {
		t.Errorf("peers: %v", peers)
	}
}

// One account that is taken over fills neither the address range nor everybody's map.
func TestPersonEnrolsSoManyMachinesAndNoMore(t *testing.T) {
	n := start(t)
	n.user("ann@example.org")
	n.user("bob@example.org")
	last := n.machine("ann-1", false)
	ann := last.login("ann@example.org")
	enrol := func(m *machine) (*api.EnrollReply, error) {
		t.Helper()
		body, _ := json.Marshal(m.request)
		h, err := n.api.LoginProof(ann.Login, "POST", api.RouteEnroll, body)
		if err != nil {
			t.Fatal(err)
		}
		return n.api.EnrollBody(t.Context(), m.Machine, body, h)
	}
	const most = 100
	for i := range most {
		last = n.machine("ann", false)
		if _, err := enrol(last); err != nil {
			t.Fatalf("machine %d: %v", i+1, err)
		}
	}
	one := n.machine("one-too-many", false)
	_, err := enrol(one)
	refused(t, err, http.StatusConflict, "setup key")
	refused(t, err, http.StatusConflict, "[too-many]")

	if _, err := enrol(last); err != nil {
		t.Errorf("a machine that she has cannot come again: %v", err)
	}
	if err := n.tryAdmin(http.MethodGet, "/api/admin/peers/one-too-many", nil, nil); err == nil {
		t.Error("it was enrolled all the same")
	}
	n.machine("bobs", false).enrolBy("bob@example.org")
	// Nor does a machine become hers that a setup key enrolled; it stays in the network, nobody's.
	web := n.enrolled("web-1", true)
	web.request.SetupKey = ""
	_, err = enrol(web)
	refused(t, err, http.StatusConflict, "[too-many]")
	if _, err := n.api.Enroll(t.Context(), web.Machine, web.request); err != nil {
		t.Errorf("by itself it comes again: %v", err)
	}
	owner := func() string {
		t.Helper()
		var peers []struct{ Name, Owner string }
		n.admin(http.MethodGet, "/api/admin/peers", nil, &peers)
		for _, p := range peers {
			if p.Name == "web-1" {
				return p.Owner
			}
		}
		return "gone"
	}
	if got := owner(); got != "" {
		t.Errorf("it belongs to %s", got)
	}
	n.admin(http.MethodDelete, "/api/admin/peers/ann", nil, nil)
	one.enrolBy("ann@example.org") // in place of the one that was removed
	n.admin(http.MethodDelete, "/api/admin/peers/ann-2", nil, nil)
	if web.enrolBy("ann@example.org"); owner() != "ann@example.org" {
		t.Errorf("in place of another one it belongs to %q", owner())
	}
}

// A machine that was off when it was removed hears of it when it comes back; one that nobody knows is told another thing.
func TestMachineThatWasRemovedWhileItWasOffHearsOfIt(t *testing.T) {
	n := start(t)
	m := n.enrolled("web-1", true)
	n.admin(http.MethodDelete, "/api/admin/peers/web-1", nil, nil)
	_, err := n.api.Follow(t.Context(), m.Machine, api.Have{})
	refused(t, err, http.StatusGone, "removed from the network by an administrator")
	refused(t, err, http.StatusGone, "[machine-removed]")
	stranger := n.machine("stranger", true)
	stranger.Subject = m.Subject
	_, err = n.api.Follow(t.Context(), stranger.Machine, api.Have{})
	refused(t, err, http.StatusForbidden, "not enrolled here (any more); run 'lanyard up' to join again. [machine-removed]")
	// Enrolled again it is a peer like any other.
	m.Subject, m.request.SetupKey = "", n.setupKey(nil)
	m.took(n.api.Enroll(t.Context(), m.Machine, m.request)).follow(nil).until("itself", func(*api.Map) bool { return true })
}

func TestEnrolAgainKeepsTheID(t *testing.T) {
	n := start(t)
	m := n.enrolled("web-1", true)
	id, name := m.Subject, m.name
	m.request.SetupKey = ""
	m.Subject = ""
	m.request.WGKey = bytes.Repeat([]byte{7}, 32)
	m.took(n.api.Enroll(t.Context(), m.Machine, m.request))
	if m.Subject != id || m.name != name {
		t.Errorf("enrolled again as %s %s, was %s %s", m.Subject, m.name, id, name)
	}
	if got := m.follow(nil).until("itself", func(*api.Map) bool { return true }).Self.WGKey; !bytes.Equal(got, m.request.WGKey) {
		t.Error("the new WireGuard key was not taken")
	}
}

func TestAnotherMachinesWireGuardKeyIsRefused(t *testing.T) {
	n := start(t)
	web, twin := n.enrolled("web-1", true), n.enrolled("twin", true)
	again := twin.request
	again.SetupKey, again.WGKey = "", web.request.WGKey
	_, err := n.api.Enroll(t.Context(), client.Machine{Key: twin.Key}, again)
	refused(t, err, http.StatusConflict, "WireGuard key")
	clone := n.machine("clone", true)
	clone.request.SetupKey, clone.request.WGKey = n.setupKey(nil), web.request.WGKey
	_, err = n.api.Enroll(t.Context(), clone.Machine, clone.request)
	refused(t, err, http.StatusConflict, "WireGuard key")
}

func TestWhatAMachineSaysOfItselfIsShortAndPlain(t *testing.T) {
	n := start(t)
	m := n.machine("web-1", true)
	m.request.SetupKey, m.request.OS = n.setupKey(nil), "lin\x1b]0;ux"+strings.Repeat("x", 5000)
	m.took(n.api.Enroll(t.Context(), m.Machine, m.request))
	got := m.follow(nil).until("itself", func(*api.Map) bool { return true }).Self.OS
	if len(got) > 64 || !strings.HasPrefix(got, "lin]0;ux") {
		t.Errorf("the map shows the system as %q", got)
	}
	n.user("ann@example.org")
	n.policy("p", "user:ann@example.org", "all", "deploy")
	zone := netip.AddrPortFrom(netip.MustParseAddr("fe80::1").WithZone(strings.Repeat("<", 100000)), 1)
	plain := netip.MustParseAddrPort("192.0.2.1:51820")
	if err := m.stream.Send(t.Context(), api.Up{Self: &api.SelfUpdate{
		Endpoints: []netip.AddrPort{zone, plain}, HostKeys: m.request.HostKeys, ServesSSH: true,
	}}); err != nil {
		t.Fatal(err)
	}
	other := n.enrolled("laptop", false).follow(nil).until("where web-1 is", func(m *api.Map) bool {
		return len(m.Peers) == 1 && len(m.Peers[0].Endpoints) > 0
	})
	for _, e := range other.Peers[0].Endpoints {
		if e.Addr().Zone() != "" {
			t.Errorf("the map of others holds an endpoint with %d characters", len(e.String()))
		}
	}
}

func TestSetupKeyRefusals(t *testing.T) {
	now := &clock{}
	n := start(t, func(c *server.Config) { c.Now = now.Now })
	try := func(key string) error {
		m := n.machine("x", false)
		m.request.SetupKey = key
		_, err := n.api.Enroll(t.Context(), m.Machine, m.request)
		return err
	}
	used := n.setupKey(nil)
	if err := try(used); err != nil {
		t.Fatal(err)
	}
	expired := n.setupKey(map[string]any{"expires": 1})
	now.advance(2 * time.Second)
	for name, key := range map[string]string{"used": used, "expired": expired, "wrong": "lk_" + strings.Repeat("a", 32), "hash": strings.TrimPrefix(used, "lk_")} {
		if err := try(key); err == nil {
			t.Errorf("a setup key that is %s enrols", name)
		} else {
			refused(t, err, http.StatusForbidden, "setup key")
		}
	}
	refused(t, try(""), http.StatusUnauthorized, "setup key")
	// The pin in the key is the map key's.
	cfg, err := n.api.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.Sum256(cfg.MapKey)
	if _, pin, _ := strings.Cut(used, "."); pin != base64.RawURLEncoding.EncodeToString(h[:])[:22] {
		t.Errorf("pin %q", pin)
	}
	err = n.tryAdmin("POST", "/api/admin/setup-keys", map[string]any{"tags": []string{"tag:web"}, "uses": 5}, nil)
	refused(t, err, http.StatusBadRequest, "tags")
}

func TestEnrolRefusesForeignKeys(t *testing.T) {
	n := start(t)
	key := n.setupKey(map[string]any{"uses": -1})
	m := n.machine("x", true)
	m.request.SetupKey = key
	m.request.HostKeys = []api.SignedKey{hostKey(n.machine("y", false).Key)}
	_, err := n.api.Enroll(t.Context(), m.Machine, m.request)
	refused(t, err, http.StatusForbidden, "host key")
	m = n.machine("x", true)
	m.request.SetupKey = key
	m.request.MachineKey = n.machine("y", false).request.MachineKey
	_, err = n.api.Enroll(t.Context(), m.Machine, m.request)
	refused(t, err, http.StatusForbidden, "machine key")
}

func TestProofIsGoodOnce(t *testing.T) {
	n := start(t)
	n.user("ann@example.org")
	m := n.enrolled("laptop", false)
	ann := m.login("ann@example.org")
	h, err := n.api.LoginProof(ann.Login, "GET", api.RouteMe, nil)
	if err != nil {
		t.Fatal(err)
	}
	send := func() error {
		req, _ := http.NewRequest("GET", n.at(api.RouteMe), nil)
		req.Header.Set("Authorization", h.Authorization)
		req.Header.Set(api.HeaderProof, h.Proof)
		return answer(http.DefaultClient.Do(req))(nil)
	}
	if err := send(); err != nil {
		t.Fatal(err)
	}
	refused(t, send(), http.StatusUnauthorized, "sent before")

	body, _ := json.Marshal(m.request)
	raw, err := proof.Sign(m.Key, proof.Params{Method: "POST", URL: n.at(api.RouteEnroll), Body: body, Subject: m.Subject, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	enrol := func() error {
		req, _ := http.NewRequest("POST", n.at(api.RouteEnroll), bytes.NewReader(body))
		req.Header.Set(api.HeaderMachine, raw)
		return answer(http.DefaultClient.Do(req))(nil)
	}
	if err := enrol(); err != nil {
		t.Fatal(err)
	}
	refused(t, enrol(), http.StatusUnauthorized, "sent before")
}

type route struct{ method, path string }

// provenRoutes are all that want a proof or a secret: those of the server's own table, and each of the admin API.
func (n *network) provenRoutes() []route {
	n.t.Helper()
	var out []route
	for _, pattern := range n.server.Proven() {
		if method, path, ok := strings.Cut(pattern, " "); ok {
			out = append(out, route{method, path})
		}
	}
	var doc struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	if err := answer(http.Get(n.at("/api/openapi.json")))(&doc); err != nil {
		n.t.Fatal(err)
	}
	for path, methods := range doc.Paths {
		for method := range methods {
			out = append(out, route{strings.ToUpper(method), strings.NewReplacer("{", "", "}", "").Replace(path)})
		}
	}
	return out
}

// An ID token without its key opens nothing, in whatever way it is presented.
func TestBareTokenIsRefusedEverywhere(t *testing.T) {
	n := start(t)
	n.user("root@example.org", "admin")
	m := n.enrolled("laptop", false)
	s := m.login("root@example.org")
	other := m.login("root@example.org")
	stolen := client.Login{Key: other.Key, Salt: other.Salt, Bound: s.Bound}
	routes := n.provenRoutes()
	if len(routes) < 30 {
		t.Fatalf("the tables of routes list %d", len(routes))
	}
	routes = append(routes, []route{{"GET", "/dex/userinfo"}, {"POST", "/dex/token/introspect"}}...)
	for _, r := range routes {
		for _, scheme := range []string{"Bearer ", "DPoP ", ""} {
			req, _ := http.NewRequest(r.method, n.at(r.path), strings.NewReader("{}"))
			req.Header.Set("Authorization", scheme+s.Bound)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode/100 == 2 || res.StatusCode == http.StatusSwitchingProtocols || res.StatusCode/100 == 5 {
				t.Errorf("%s %s with %q: %s", r.method, r.path, scheme, res.Status)
			}
		}
		if !strings.HasPrefix(r.path, "/dex") {
			h, err := n.api.LoginProof(stolen, r.method, r.path, []byte("{}"))
			if err != nil {
				t.Fatal(err)
			}
			req, _ := http.NewRequest(r.method, n.at(r.path), strings.NewReader("{}"))
			req.Header.Set("Authorization", h.Authorization)
			req.Header.Set(api.HeaderProof, h.Proof)
			if err := answer(http.DefaultClient.Do(req))(nil); err == nil {
				t.Errorf("%s %s: a token works with another key", r.method, r.path)
			}
		}
	}
}

func TestAuditLinesAreStoredOnceAndAcknowledged(t *testing.T) {
	n := start(t)
	m := n.enrolled("web-1", true).follow(nil)
	ev := audit.Event{ID: api.NewEventID(time.Now()), Time: time.Now().UTC(), Type: audit.SessionStart, Peer: "somebody else", User: "ann"}
	forged := audit.Event{ID: api.NewEventID(time.Now()), Type: audit.AdminChange, What: "user.add"}
	l1, _ := json.Marshal(ev)
	l2, _ := json.Marshal(forged)
	for range 2 {
		if err := m.stream.Send(t.Context(), api.Up{Audit: []json.RawMessage{l1, l2}}); err != nil {
			t.Fatal(err)
		}
		select {
		case ids := <-m.acks:
			if !slices.Equal(ids, []string{ev.ID, forged.ID}) {
				t.Errorf("acknowledged %v", ids)
			}
		case <-time.After(2 * time.Minute):
			t.Fatal("no acknowledgement")
		}
	}
	var events []audit.Event
	n.admin("GET", "/api/admin/audit", nil, &events)
	count := 0
	for _, e := range events {
		if e.ID == forged.ID {
			t.Error("a peer wrote an administrator's event")
		}
		if e.ID == ev.ID {
			count++
			if e.Peer != m.Subject {
				t.Errorf("a peer speaks for %q", e.Peer)
			}
		}
	}
	if count != 1 {
		t.Errorf("the event is there %d times", count)
	}
}

func TestUnchangedMapIsNotSentAgain(t *testing.T) {
	n := start(t)
	m := n.enrolled("web-1", true).follow(nil)
	m.until("itself", func(*api.Map) bool { return true })
	m.stream.Close()
	m.follow(nil)
	n.user("ann@example.org") // changes no map of web-1
	n.policy("web", "user:ann@example.org", "peer:web-1", "deploy")
	got := <-m.maps
	if len(got.Rules) != 1 {
		t.Errorf("the first map after coming back has %d rules: the unchanged one was sent", len(got.Rules))
	}
}

func TestMapsSurviveARestart(t *testing.T) {
	n := start(t, func(c *server.Config) { c.HTTP = local(t) })
	n.user("ann@example.org")
	m := n.enrolled("web-1", true, "tag:web").follow(nil)
	n.policy("web", "user:ann@example.org", "tag:web", "deploy")
	before := m.until("a rule", func(m *api.Map) bool { return len(m.Rules) == 1 })
	n.stop()
	n.open()
	m.stream = nil
	m.follow(nil)
	n.policy("web", "user:ann@example.org", "tag:web", "other")
	after := m.until("the other account", func(m *api.Map) bool { return len(m.Rules) == 1 && m.Rules[0].As[0] == "other" })
	if after.Version <= before.Version || after.Epoch != before.Epoch || after.Network != before.Network {
		t.Errorf("after the restart %d/%d, before %d/%d", after.Epoch, after.Version, before.Epoch, before.Version)
	}
	if s := m.login("ann@example.org"); s.Bound == "" {
		t.Error("no sign-in after the restart")
	}
}

func TestOnlyConnectedPeersLearnOfEachOther(t *testing.T) {
	n := start(t)
	n.user("ann@example.org")
	web := n.enrolled("web-1", true, "tag:web").follow(nil)
	db := n.enrolled("db-1", true, "tag:db").follow(nil)
	n.policy("db", "machine:web-1/backup", "tag:db", "backup")
	other := n.enrolled("other", true, "tag:other").follow(nil)
	db.until("web-1", hasPeer("web-1"))
	web.until("db-1", hasPeer("db-1"))
	if m := other.until("itself", func(*api.Map) bool { return true }); len(m.Peers) != 0 || len(m.Admit) != 0 {
		t.Errorf("a peer without rules knows %v", m.Peers)
	}
	n.admin("DELETE", "/api/admin/peers/web-1", nil, nil)
	select {
	case s := <-web.gone:
		if !strings.Contains(s, "removed") {
			t.Error(s)
		}
	case <-time.After(2 * time.Minute):
		t.Error("the removed machine was not told")
	}
	db.until("nobody", func(m *api.Map) bool { return len(m.Peers) == 0 })
	_, err := n.api.Follow(t.Context(), web.Machine, api.Have{})
	refused(t, err, http.StatusGone, "[machine-removed]")
	again := n.enrolled("web-1", true)
	if again.name == "web-1" {
		t.Error("another machine got the name of one that was just removed")
	}
}

func TestPeersLearnEndpoints(t *testing.T) {
	n := start(t)
	web := n.enrolled("web-1", true, "tag:web").follow(nil)
	ci := n.enrolled("ci", false, "tag:ci").follow(nil)
	n.policy("ci", "machine:ci/runner", "tag:web", "deploy")
	at := netip.MustParseAddrPort("192.0.2.7:51820")
	up := api.SelfUpdate{Endpoints: []netip.AddrPort{at}, HostKeys: web.request.HostKeys, ServesSSH: true, OS: "linux", Release: "test"}
	if err := web.stream.Send(t.Context(), api.Up{Self: &up}); err != nil {
		t.Fatal(err)
	}
	seen := netip.MustParseAddrPort("127.0.0.1:51820") // both are on this machine, as the server sees
	ci.until("web-1's endpoints", func(m *api.Map) bool {
		return hasPeer("web-1")(m) && slices.Equal(m.Peers[0].Endpoints, []netip.AddrPort{at, seen})
	})
	up.HostKeys = []api.SignedKey{hostKey(ci.Key)}
	up.Endpoints = nil
	if err := web.stream.Send(t.Context(), api.Up{Self: &up}); err != nil {
		t.Fatal(err)
	}
	var peers []struct {
		Name   string
		Online bool
	}
	deadline := time.Now().Add(2 * time.Minute)
	for {
		n.admin("GET", "/api/admin/peers", nil, &peers)
		if peers[0].Name == "ci" && !peers[1].Online { // listed by name
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a peer that names a host key which it did not sign stays connected")
		}
		time.Sleep(10 * time.Millisecond)
	}
}
