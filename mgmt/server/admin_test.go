package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/client"
	"lanyard/mgmt/server"
	"lanyard/mgmt/store"
)

func (n *network) apiToken(scopes ...string) string {
	n.t.Helper()
	var out struct{ Token string }
	n.admin("POST", "/api/admin/tokens", map[string]any{"name": "test", "scopes": scopes}, &out)
	return out.Token
}

func (n *network) bearer(token, method, path, body string) error {
	req, _ := http.NewRequest(method, n.at(path), strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	return answer(http.DefaultClient.Do(req))(nil)
}

func TestAPITokenDoesWhatItsScopesSay(t *testing.T) {
	now := &clock{}
	n := start(t, func(c *server.Config) { c.Now = now.Now })
	n.user("ann@example.org")
	users, read, tokens := n.apiToken("users:write"), n.apiToken("read"), n.apiToken("tokens:write")
	for _, c := range []struct {
		token, method, path, body string
		status                    int // 0: works
	}{
		{users, "GET", "/api/admin/users", "", 0},
		{users, "POST", "/api/admin/users/ann@example.org/logout", "", 0},
		{users, "GET", "/api/admin/peers", "", 403},
		{read, "GET", "/api/admin/peers", "", 0},
		{read, "GET", "/api/admin/audit", "", 0},
		{read, "POST", "/api/admin/users/ann@example.org/block", "", 403},
		{tokens, "POST", "/api/admin/tokens", `{"name":"x","scopes":["admin"]}`, 403},
		{tokens, "POST", "/api/admin/tokens", `{"name":"x","scopes":["users:read"]}`, 403},
		{tokens, "POST", "/api/admin/tokens", `{"name":"x","scopes":["tokens:read"]}`, 0},
		{"lat_wrong", "GET", "/api/admin/users", "", 401},
		{"", "GET", "/api/admin/users", "", 401},
	} {
		err := n.bearer(c.token, c.method, c.path, c.body)
		if c.status == 0 && err != nil {
			t.Errorf("%s %s: %v", c.method, c.path, err)
		}
		if c.status != 0 {
			if err == nil {
				t.Errorf("%s %s %s is allowed", c.method, c.path, c.body)
			} else {
				refused(t, err, c.status, "")
			}
		}
	}
	now.advance(91 * 24 * 3600 * 1e9)
	refused(t, n.bearer(users, "GET", "/api/admin/users", ""), 401, "expired")
}

func TestEveryChangeIsAnAuditEvent(t *testing.T) {
	n := start(t)
	n.user("ann@example.org")
	n.enrolled("web-1", true, "tag:web")
	n.policy("web", "user:ann@example.org", "tag:web", "deploy")
	n.admin("POST", "/api/admin/groups/ops/members", map[string]any{"users": []string{"ann@example.org"}}, nil)
	n.admin("DELETE", "/api/admin/groups/ops/members/ann@example.org", nil, nil)
	n.admin("DELETE", "/api/admin/groups/ops", nil, nil)
	n.admin("PATCH", "/api/admin/peers/web-1", map[string]any{"short_name": true}, nil)
	n.admin("POST", "/api/admin/users/ann@example.org/block", nil, nil)
	n.admin("POST", "/api/admin/users/ann@example.org/unblock", nil, nil)
	n.admin("POST", "/api/admin/users/ann@example.org/password", map[string]any{}, nil)
	n.admin("DELETE", "/api/admin/policies/web", nil, nil)
	n.admin("DELETE", "/api/admin/peers/web-1", nil, nil)
	n.apiToken("read")
	var events []store.Recorded
	n.admin("GET", "/api/admin/audit", nil, &events)
	var got []string
	for _, e := range events {
		got = append(got, strings.TrimSpace(string(e.Type)+" "+e.What))
	}
	want := []string{
		"admin.change user.add", "admin.change setup-key.add", "enrolled", "admin.change policy.put", "admin.change group.add",
		"admin.change group.remove", "admin.change group.delete", "admin.change peer.change", "admin.change user.block", "admin.change user.unblock",
		"admin.change user.password", "admin.change policy.remove", "admin.change peer.remove", "admin.change token.add",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestGroupChangeReachesPeers(t *testing.T) {
	n := start(t)
	n.user("ann@example.org")
	web := n.enrolled("web-1", true, "tag:web").follow(nil)
	n.admin("POST", "/api/admin/groups/ops/members", map[string]any{"users": []string{}}, nil)
	n.policy("web", "group:ops", "tag:web", "deploy")
	var effect api.Effect
	n.admin("POST", "/api/admin/groups/ops/members", map[string]any{"users": []string{"ann@example.org"}}, &effect)
	if !slices.Equal(effect.Reached, []string{"web-1"}) {
		t.Errorf("joining: %+v", effect)
	}
	inGroup := func(m *api.Map) bool {
		return slices.ContainsFunc(m.Users, func(u api.MapUser) bool { return u.Email == "ann@example.org" && len(u.Groups) == 1 })
	}
	web.until("ann in the group", inGroup)
	n.admin("DELETE", "/api/admin/groups/ops/members/ann@example.org", nil, &effect)
	if !slices.Equal(effect.Reached, []string{"web-1"}) {
		t.Errorf("leaving: %+v", effect)
	}
	web.until("ann outside", func(m *api.Map) bool { return !inGroup(m) })
}

func TestExplain(t *testing.T) {
	n := start(t)
	n.user("ann@example.org")
	n.user("bob@example.org")
	n.user("root@example.org", "admin")
	web := n.enrolled("web-1", true, "tag:web")
	n.policy("web", "user:ann@example.org", "tag:web", "deploy")
	ann, root := web.login("ann@example.org"), web.login("root@example.org")
	ask := func(s *signIn, user, account string) *api.ExplainReply {
		t.Helper()
		r, err := n.api.Explain(t.Context(), s.Login, api.ExplainRequest{User: user, Target: "web-1", Account: account})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, c := range []struct {
		s             *signIn
		user, account string
		code          string
	}{
		{ann, "", "deploy", "ok"}, {ann, "", "other", "local-user"}, {root, "bob@example.org", "deploy", "no-rule"}, {root, "ann@example.org", "deploy", "ok"},
	} {
		if r := ask(c.s, c.user, c.account); r.Code != c.code || r.Allowed != (c.code == "ok") || r.Message == "" {
			t.Errorf("%s as %s: %+v, want %s", c.user, c.account, r, c.code)
		}
	}
	_, err := n.api.Explain(t.Context(), ann.Login, api.ExplainRequest{User: "bob@example.org", Target: "web-1", Account: "deploy"})
	refused(t, err, http.StatusForbidden, "administrators")
	_, err = n.api.Explain(t.Context(), ann.Login, api.ExplainRequest{Target: "nowhere", Account: "deploy"})
	refused(t, err, http.StatusNotFound, "nowhere")
	n.admin("POST", "/api/admin/users/ann@example.org/block", nil, nil)
	if r := ask(root, "ann@example.org", "deploy"); r.Code != "blocked" {
		t.Errorf("blocked: %+v", r)
	}
}

func TestOpenAPI(t *testing.T) {
	n := start(t)
	var doc struct {
		OpenAPI string                    `json:"openapi"`
		Paths   map[string]map[string]any `json:"paths"`
	}
	if err := answer(http.Get(n.at("/api/openapi.json")))(&doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") || doc.Paths["/api/admin/users/{user}/block"]["post"] == nil {
		t.Errorf("openapi %s with %d paths", doc.OpenAPI, len(doc.Paths))
	}
}

func TestOwnCAWithPin(t *testing.T) {
	n := start(t, func(c *server.Config) { c.Listen = local(t) })
	if !strings.HasPrefix(n.server.Join(), "https://127.0.0.1:") {
		t.Fatal(n.server.Join())
	}
	n.user("ann@example.org")
	m := n.enrolled("web-1", true).follow(nil)
	m.until("itself", func(*api.Map) bool { return true })
	// Another pin, or none, is refused.
	url, pin, _ := strings.Cut(n.server.Join(), "#sha256=")
	for _, join := range []string{url, url + "#sha256=" + strings.Repeat("0", len(pin))} {
		c, err := client.New(join)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Config(t.Context()); err == nil {
			t.Errorf("%s is trusted", join)
		}
	}
	if runtime.GOOS != "windows" {
		for _, name := range []string{"ca.key", "ca.crt", server.AdminSocket} {
			if fi, err := os.Stat(filepath.Join(n.state, name)); err != nil || fi.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", name, fi.Mode(), err)
			}
		}
	}
	before := n.server.Join()
	n.stop()
	n.open()
	if n.server.Join() != before {
		t.Errorf("the join command changed from %s to %s", before, n.server.Join())
	}
}

func openOnce(t *testing.T, cfg server.Config) error {
	t.Helper()
	cfg.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	s, err := server.Open(t.Context(), cfg)
	if err == nil {
		s.Close()
	}
	return err
}

func TestPlainHTTPOnLoopbackOnly(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "[::]:0"} {
		if err := openOnce(t, server.Config{State: t.TempDir(), HTTP: addr}); err == nil || !strings.Contains(err.Error(), "loopback") {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestSecondServerOnOneFolder(t *testing.T) {
	n := start(t)
	err := openOnce(t, server.Config{State: n.state, HTTP: "127.0.0.1:0"})
	if !errors.Is(err, store.ErrLocked) {
		t.Errorf("got %v", err)
	}
	n.user("ann@example.org") // the first one is as it was
}

// The test's own program asks the admin socket as another user.
func TestAdminSocketIsForItsOwner(t *testing.T) {
	if os.Getenv("ADMIN_SOCKET_TEST") != "" {
		n := &network{t: t, state: os.Getenv("ADMIN_SOCKET_TEST")}
		err := n.tryAdmin("GET", "/api/admin/users", nil, nil)
		b, _ := json.Marshal(map[string]string{"err": errText(err)})
		os.Stdout.Write(append([]byte("ANSWER "), append(b, '\n')...))
		return
	}
	if runtime.GOOS == "windows" || os.Geteuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	n := start(t)
	// Even with every mode open, the kernel's word on who connects counts.
	for path := n.state; path != "/" && path != os.TempDir(); path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(n.state, server.AdminSocket), 0o777); err != nil {
		t.Fatal(err)
	}
	self := filepath.Join(n.state, "self.test")
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Skip("needs /proc")
	}
	if err := os.WriteFile(self, exe, 0o755); err != nil {
		t.Fatal(err)
	}
	ask := func(user string) string {
		t.Helper()
		cmd := exec.CommandContext(context.Background(), "setpriv", "--reuid", user, "--regid", user, "--clear-groups", self, "-test.run", "^TestAdminSocketIsForItsOwner$")
		cmd.Env = append(os.Environ(), "ADMIN_SOCKET_TEST="+n.state)
		cmd.Dir = n.state
		out, err := cmd.CombinedOutput()
		_, line, ok := strings.Cut(string(out), "ANSWER ")
		if !ok {
			t.Fatalf("as %s: %v: %s", user, err, out)
		}
		return line
	}
	if got := ask("65534"); !strings.Contains(got, "is for the user") {
		t.Errorf("another user is answered %s", got)
	}
	if got := ask("0"); !strings.Contains(got, `"err":""`) {
		t.Errorf("root is answered %s", got)
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// The list says who has ever signed in, and since when somebody is blocked.
func TestListOfPeopleTellsSignInsAndBlocks(t *testing.T) {
	n := start(t)
	n.user("ann@example.org")
	type row struct {
		SignedIn     time.Time `json:"signed_in"`
		BlockedSince time.Time `json:"blocked_since"`
	}
	listed := func() row {
		t.Helper()
		var all []row
		n.admin("GET", "/api/admin/users", nil, &all)
		if len(all) != 1 {
			t.Fatalf("%+v", all)
		}
		return all[0]
	}
	act := func(what string) { n.admin("POST", "/api/admin/users/ann@example.org/"+what, nil, nil) }
	if got := listed(); !got.SignedIn.IsZero() || !got.BlockedSince.IsZero() {
		t.Errorf("before anything happened: %+v", got)
	}
	m := n.enrolled("laptop", false)
	ann := m.login("ann@example.org")
	before := time.Now().Add(-time.Millisecond)
	if _, err := n.api.Seen(t.Context(), ann.Login); err != nil {
		t.Fatal(err)
	}
	in := listed()
	if in.SignedIn.Before(before.Truncate(time.Millisecond)) || !in.BlockedSince.IsZero() {
		t.Errorf("signed in, after %s: %+v", before, in)
	}
	if _, err := n.api.Seen(t.Context(), ann.Login); err != nil || listed() != in {
		t.Errorf("reported again: %+v, was %+v, %v", listed(), in, err)
	}
	act("block")
	out := listed()
	if out.BlockedSince.Before(in.SignedIn) || out.SignedIn != in.SignedIn {
		t.Errorf("blocked: %+v", out)
	}
	act("block")
	act("logout")
	if got := listed(); got != out {
		t.Errorf("blocked again: %+v, was %+v", got, out)
	}
	act("unblock")
	if got := listed(); !got.BlockedSince.IsZero() || got.SignedIn != in.SignedIn {
		t.Errorf("unblocked: %+v", got)
	}
}
