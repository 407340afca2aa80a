package server_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/store"
	"lanyard/sshd/token"
)

// thumbprint names a sign-in's key.
func (s *signIn) thumbprint() string { return token.Thumbprint(s.start.Key) }

// lost is what is answered about a machine that was declared lost.
type lost struct {
	Object struct {
		Name   string            `json:"name"`
		Owner  string            `json:"owner"`
		Logins []store.LostLogin `json:"logins"`
	} `json:"object"`
	Effect api.Effect `json:"effect"`
}

// A lost laptop takes nothing along: what was signed in on it ends everywhere, and nothing else does.
func TestLostMachineTakesTheSignInsOnItAlong(t *testing.T) {
	n := start(t)
	n.user("ann@example.com")
	n.user("bob@example.com")
	web := n.enrolled("web-1", true, "tag:web").follow(nil)
	first := n.machine("laptop", false)
	first.enrolBy("ann@example.com")
	second := n.enrolled("tablet", false, "tag:tablet")
	n.policy("web", "everyone", "tag:web", "deploy")
	reported, guest, kept := first.login("ann@example.com"), first.login("bob@example.com"), second.login("ann@example.com")
	for _, s := range []*signIn{reported, guest, kept} {
		if _, err := n.api.Seen(t.Context(), s.Login); err != nil {
			t.Fatal(err)
		}
	}
	unreported := first.login("bob@example.com")
	underway, err := first.push(api.PurposeLogin)
	if err != nil {
		t.Fatal(err)
	}
	back := n.code(underway, "ann@example.com", password)

	var out lost
	n.admin(http.MethodPost, "/api/admin/peers/laptop/lost", nil, &out)
	var whose []string
	for _, l := range out.Object.Logins {
		whose = append(whose, l.User)
	}
	// The enrolment was a sign-in, too, which never reported.
	if !slices.Equal(whose, []string{"ann@example.com", "bob@example.com"}) || out.Object.Owner != "ann@example.com" || out.Object.Name != "laptop" {
		t.Errorf("answered %+v", out)
	}
	if !slices.Equal(out.Effect.Reached, []string{"web-1"}) {
		t.Errorf("in force on %q", out.Effect.Reached)
	}
	m := web.until("the keys", func(m *api.Map) bool { return slices.Contains(m.RevokedKeys, reported.thumbprint()) })
	for _, s := range []*signIn{guest, unreported, underway} {
		if !slices.Contains(m.RevokedKeys, s.thumbprint()) {
			t.Errorf("a key that lies on the machine is not revoked")
		}
	}
	if slices.Contains(m.RevokedKeys, kept.thumbprint()) {
		t.Error("the sign-in on the other machine ended too")
	}
	if slices.ContainsFunc(m.Peers, func(p api.Peer) bool { return p.Name == "laptop" }) {
		t.Error("the machine is still in the map")
	}
	// Whoever has the disk: no refresh, no word of the management server, no way in with the key.
	for _, s := range []*signIn{reported, guest, unreported} {
		if got := n.refresh(s); got.Error != "invalid_grant" || got.ID != "" {
			t.Errorf("the refresh token of the lost machine gave %+v", got)
		}
		_, err := n.api.Me(t.Context(), s.Login)
		refused(t, err, http.StatusUnauthorized, "revoked")
	}
	if got := n.exchange(underway, back.Get("code")); got.Error != "invalid_grant" {
		t.Errorf("the sign-in that was under way gave %+v", got)
	}
	_, err = first.push(api.PurposeLogin)
	refused(t, err, http.StatusGone, "[machine-removed]")
	if got := n.refresh(kept); got.ID == "" {
		t.Errorf("the other machine's refresh: %+v", got)
	}
	if _, err := n.api.Me(t.Context(), kept.Login); err != nil {
		t.Errorf("the other machine's sign-in: %v", err)
	}
	var events []store.Recorded
	n.admin(http.MethodGet, "/api/admin/audit", nil, &events)
	if last := events[len(events)-1]; last.What != "peer.lost" || last.Target != "laptop" || !strings.Contains(last.Detail, "sign-ins ended: 2") {
		t.Errorf("the audit log says %+v", last)
	}
	if err := n.tryAdmin(http.MethodPost, "/api/admin/peers/laptop/lost", nil, nil); err == nil {
		t.Error("a machine was lost twice")
	}
}

// The same for a machine that is just removed.
func TestRemovedMachineTakesTheSignInsOnItAlong(t *testing.T) {
	n := start(t)
	n.user("ann@example.com")
	gone, kept := n.enrolled("old", false, "tag:old"), n.enrolled("new", false, "tag:new")
	a, b := gone.login("ann@example.com"), kept.login("ann@example.com")
	n.admin(http.MethodDelete, "/api/admin/peers/old", nil, nil)
	_, err := n.api.Me(t.Context(), a.Login)
	refused(t, err, http.StatusUnauthorized, "revoked")
	if _, err := n.api.Me(t.Context(), b.Login); err != nil {
		t.Errorf("the sign-in on the other machine: %v", err)
	}
}

// A machine whose person signed in to enrol it loses that sign-in; so does one that tells of a sign-in at another provider.
func TestSignInsThatBeginElsewhereKnowTheirMachine(t *testing.T) {
	n := start(t)
	n.user("ann@example.com")
	m := n.machine("laptop", false)
	s := m.login("ann@example.com")
	body, err := json.Marshal(m.request)
	if err != nil {
		t.Fatal(err)
	}
	h, err := m.api.LoginProof(s.Login, http.MethodPost, api.RouteEnroll, body)
	if err != nil {
		t.Fatal(err)
	}
	m.took(m.api.EnrollBody(t.Context(), m.Machine, body, h))
	m.Subject = ""
	again := m.login("ann@example.com") // as its service does when it has lost its state, but for the machine key
	if h, err = m.api.LoginProof(again.Login, http.MethodPost, api.RouteEnroll, body); err != nil {
		t.Fatal(err)
	}
	m.took(m.api.EnrollBody(t.Context(), m.Machine, body, h))
	other := newWork(t)
	n.addIssuer(other)
	key, salt, err := token.NewKey(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pub, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	direct := api.LoginStart{Purpose: api.PurposeLogin, Issuer: other.URL, Account: "ann", Key: pub.Marshal(), Salt: salt}
	if got, err := n.api.Login(t.Context(), m.Machine, direct); err != nil || got.AuthURL != "" {
		t.Fatalf("%+v, %v", got, err)
	}
	code := m.device()
	// Whoever saw the key later says nothing of it.
	web := n.enrolled("web-1", true, "tag:web").follow(nil)
	n.policy("web", "everyone", "tag:web", "deploy")
	if _, err := n.api.Login(t.Context(), web.Machine, direct); err != nil {
		t.Fatal(err)
	}
	n.admin(http.MethodPost, "/api/admin/peers/laptop/lost", nil, nil)
	web.until("all keys", func(m *api.Map) bool {
		return slices.Contains(m.RevokedKeys, s.thumbprint()) && slices.Contains(m.RevokedKeys, again.thumbprint()) && slices.Contains(m.RevokedKeys, code.thumbprint()) &&
			slices.Contains(m.RevokedKeys, token.Thumbprint(direct.Key))
	})
}
