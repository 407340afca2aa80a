package server_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/client"
	"lanyard/mgmt/server"
	"lanyard/mgmt/store"
	"lanyard/sshd/token"
)

// work is somebody else's provider, as far as the management server sees it.
type work struct {
	*httptest.Server
	mu   sync.Mutex // guards the rest
	key  ed25519.PrivateKey
	kid  string
	asks int
	keys func(http.ResponseWriter) bool // answers in place of the keys
	name string                         // what it calls itself; empty: its URL
}

func newWork(t *testing.T) *work {
	w := &work{}
	w.rotate("k1")
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(rw http.ResponseWriter, _ *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		name := w.name
		if name == "" {
			name = w.URL
		}
		json.NewEncoder(rw).Encode(map[string]string{"issuer": name, "jwks_uri": w.URL + "/keys"})
	})
	mux.HandleFunc("/keys", func(rw http.ResponseWriter, _ *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.asks++
		if w.keys != nil && w.keys(rw) {
			return
		}
		fmt.Fprintf(rw, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":%q,"x":%q,"x5c":["long"]},{"kty":"oct","k":"AAAA"}]}`,
			w.kid, base64.RawURLEncoding.EncodeToString(w.key.Public().(ed25519.PublicKey)))
	})
	w.Server = httptest.NewServer(mux)
	t.Cleanup(w.Close)
	return w
}

func (w *work) rotate(kid string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, w.key, _ = ed25519.GenerateKey(rand.Reader)
	w.kid = kid
}

func (w *work) asked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asks
}

// sign makes an ID token; claims are added.
func (w *work) sign(sub, nonce string, issued time.Time, claims jwt.MapClaims) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := jwt.MapClaims{
		"iss": w.URL, "sub": sub, "aud": "lanyard", "iat": issued.Unix(), "exp": issued.Add(time.Hour).Unix(),
		"email": sub + "@work.example", "email_verified": true, "roles": []string{"web"},
	}
	if nonce != "" {
		c["nonce"] = nonce
	}
	for k, v := range claims {
		c[k] = v
	}
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, c)
	t.Header["kid"] = w.kid
	raw, err := t.SignedString(w.key)
	if err != nil {
		panic(err)
	}
	return raw
}

func (w *work) login(sub string, issued time.Time) client.Login {
	key, salt, _ := token.NewKey(issued)
	pub, _ := ssh.NewPublicKey(key.Public())
	return client.Login{Key: key, Salt: salt, Bound: w.sign(sub, token.Nonce(salt, pub.Marshal()), issued, nil)}
}

func (n *network) addIssuer(w *work) {
	n.t.Helper()
	n.admin("POST", "/api/admin/issuers", map[string]any{"url": w.URL, "client_id": "lanyard", "groups_claim": "roles", "email_domains": []string{"work.example"}}, nil)
}

func TestPeopleOfAnotherProviderComeWithItsToken(t *testing.T) {
	n := start(t)
	w := newWork(t)
	l := w.login("ann", time.Now())
	_, err := n.api.Seen(t.Context(), l)
	refused(t, err, http.StatusUnauthorized, "[issuer]")
	n.addIssuer(w)
	web := n.enrolled("web", true, "tag:web")
	n.policy("web", "group:web@"+w.URL, "tag:web", "deploy")
	me, err := n.api.Seen(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	if me.Email != "ann@work.example" || len(me.Machines) != 1 || me.Machines[0].Name != web.name {
		t.Errorf("%+v", me)
	}
	cfg, err := n.api.Config(t.Context())
	if err != nil || len(cfg.Issuers) != 2 || cfg.Issuers[1].URL != w.URL || cfg.Issuers[1].Keys != nil {
		t.Errorf("%+v, %v", cfg, err)
	}
	m := web.follow(nil).until("the provider", func(m *api.Map) bool { return len(m.Issuers) == 2 })
	if is := m.Issuers[1]; len(is.Keys) != 1 || strings.Contains(string(is.Keys[0]), "x5c") || is.GroupsClaim != "roles" {
		t.Errorf("%s", is.Keys)
	}
	// An address that the provider may not speak for is nobody's.
	key, salt, _ := token.NewKey(time.Now())
	pub, _ := ssh.NewPublicKey(key.Public())
	eve := client.Login{Key: key, Salt: salt, Bound: w.sign("eve", token.Nonce(salt, pub.Marshal()), time.Now(), jwt.MapClaims{"email": "root@example.org"})}
	if me, err := n.api.Seen(t.Context(), eve); err != nil || me.Email != "" {
		t.Errorf("%+v, %v", me, err)
	}
}

func TestIssuerThatIsNotItselfIsNotAdded(t *testing.T) {
	n := start(t)
	add := func(w *work, change func(map[string]any)) error {
		in := map[string]any{"url": w.URL, "client_id": "lanyard"}
		if change != nil {
			change(in)
		}
		return n.tryAdmin("POST", "/api/admin/issuers", in, nil)
	}
	for name, c := range map[string]struct {
		work   func(*work)
		change func(map[string]any)
		says   string
	}{
		"another name":    {func(w *work) { w.name = "https://foe.example" }, nil, "calls itself"},
		"a slash more":    {nil, func(in map[string]any) { in["url"] = in["url"].(string) + "/" }, "calls itself"},
		"open line":       {nil, func(in map[string]any) { in["url"] = "http://id.example" }, "https"},
		"backdates hours": {nil, func(in map[string]any) { in["iat_backdate"] = 3600 }, "at most"},
		"no client":       {nil, func(in map[string]any) { in["client_id"] = "" }, "client id"},
		"our own":         {nil, func(in map[string]any) { in["url"] = n.server.URL() + "/dex" }, "own provider"},
		"no keys": {func(w *work) {
			w.keys = func(rw http.ResponseWriter) bool { fmt.Fprint(rw, `{"keys":[]}`); return true }
		}, nil, "no key"},
		"endless": {func(w *work) {
			w.keys = func(rw http.ResponseWriter) bool {
				fmt.Fprint(rw, `{"keys":[],"x":"`+strings.Repeat("x", 1<<20)+`"}`)
				return true
			}
		}, nil, "longer than"},
		"elsewhere": {func(w *work) {
			w.keys = func(rw http.ResponseWriter) bool {
				rw.Header().Set("Location", "https://foe.example/keys")
				rw.WriteHeader(http.StatusFound)
				return true
			}
		}, nil, "302"},
	} {
		w := newWork(t)
		if c.work != nil {
			c.work(w)
		}
		if err := add(w, c.change); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := add(newWork(t), nil); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

// A bad token makes the server look once in a while, not every time; a good one by a new key is found at once.
func TestUnknownKeyIsLookedForWithAFloor(t *testing.T) {
	n := start(t)
	w := newWork(t)
	n.addIssuer(w)
	if _, err := n.api.Seen(t.Context(), w.login("ann", time.Now())); err != nil {
		t.Fatal(err)
	}
	before := w.asked()
	w.rotate("k2")
	if _, err := n.api.Seen(t.Context(), w.login("ann", time.Now())); err != nil {
		t.Errorf("a new key: %v", err)
	}
	if got := w.asked() - before; got != 1 {
		t.Errorf("it was asked %d times", got)
	}
	foe := newWork(t)
	foe.URL = w.URL
	for i := range 50 {
		foe.rotate(fmt.Sprint("foe", i))
		if _, err := n.api.Seen(t.Context(), foe.login("ann", time.Now())); err == nil {
			t.Fatal("a foreign token was taken")
		}
	}
	if got := w.asked() - before; got > 20 {
		t.Errorf("50 bad tokens made it look %d times", got)
	}
}

// The provider is down: its keys stay, also when the management server starts anew.
func TestProviderThatIsDownKeepsItsKeys(t *testing.T) {
	n := start(t)
	w := newWork(t)
	n.addIssuer(w)
	l := w.login("ann", time.Now())
	w.CloseClientConnections()
	w.Close()
	if _, err := n.api.Seen(t.Context(), l); err != nil {
		t.Errorf("%v", err)
	}
	n.stop()
	n.open()
	if _, err := n.api.Seen(t.Context(), l); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

func TestRenewalIsMadeForWhoHasTheKey(t *testing.T) {
	n := start(t)
	w := newWork(t)
	n.addIssuer(w)
	l := w.login("ann", time.Now().Add(-2*time.Hour))
	_, err := n.api.Seen(t.Context(), l)
	refused(t, err, http.StatusUnauthorized, "[token-expired]")
	refreshed := w.sign("ann", "", time.Now(), nil)
	renewal, err := n.api.Renew(t.Context(), l, refreshed)
	if err != nil {
		t.Fatal(err)
	}
	l.Fresh = renewal
	if me, err := n.api.Seen(t.Context(), l); err != nil || me.Subject != "ann" {
		t.Errorf("with the renewal: %+v, %v", me, err)
	}
	other := w.login("ann", time.Now().Add(-2*time.Hour))
	other.Fresh = renewal
	_, err = n.api.Seen(t.Context(), other)
	refused(t, err, http.StatusUnauthorized, "[key-mismatch]")
	l.Fresh = ""
	for name, c := range map[string]struct {
		login client.Login
		raw   string
		code  string
	}{
		"somebody else's token": {l, w.sign("bob", "", time.Now(), nil), "[key-mismatch]"},
		"another key's token":   {l, w.sign("ann", "other", time.Now(), nil), "[key-mismatch]"},
		"a token of yesterday":  {l, w.sign("ann", "", time.Now().Add(-2*time.Hour), nil), "[token-expired]"},
		"for another program":   {l, w.sign("ann", "", time.Now(), jwt.MapClaims{"aud": "other"}), "[audience]"},
		"another's key":         {client.Login{Key: other.Key, Salt: other.Salt, Bound: l.Bound}, refreshed, "[key-mismatch]"},
	} {
		_, err := n.api.Renew(t.Context(), c.login, c.raw)
		if err == nil || !strings.Contains(err.(*api.Error).Code, strings.Trim(c.code, "[]")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = n.api.Renew(t.Context(), l, renewal)
	refused(t, err, http.StatusBadRequest, "no refreshed token")
}

func TestDistrustedKeyIsGoneFromEverywhere(t *testing.T) {
	n := start(t)
	n.user("ann@example.org")
	w := newWork(t)
	n.addIssuer(w)
	web := n.enrolled("web", true, "tag:web").follow(nil)
	n.policy("web", "everyone", "tag:web", "deploy")
	l := w.login("ann", time.Now())
	if _, err := n.api.Seen(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	refused(t, n.tryAdmin("POST", "/api/admin/issuers/distrust", map[string]any{"key": "nobody"}, nil), http.StatusNotFound, "no")
	n.admin("POST", "/api/admin/issuers/distrust", map[string]any{"key": "k1"}, nil)
	m := web.until("the distrust", func(m *api.Map) bool { return len(m.Issuers) == 2 && len(m.Issuers[1].Distrusted) == 1 })
	if is := m.Issuers[1]; len(is.Keys)+len(is.Withdrawn) != 0 || is.Distrusted[0].KID != "k1" {
		t.Errorf("%+v", is)
	}
	_, err := n.api.Seen(t.Context(), l)
	refused(t, err, http.StatusUnauthorized, "[distrusted]")
	// The embedded provider gets a new key at once: people can sign in again.
	before := m.Issuers[0].Keys
	_, kid, err := token.KeyID(before[0])
	if err != nil {
		t.Fatal(err)
	}
	n.admin("POST", "/api/admin/issuers/distrust", map[string]any{"key": kid, "issuer": m.Issuers[0].URL}, nil)
	m = web.until("a new key", func(m *api.Map) bool {
		return len(m.Issuers[0].Distrusted) == 1 && len(m.Issuers[0].Keys) > 0
	})
	if slices.ContainsFunc(m.Issuers[0].Keys, func(k json.RawMessage) bool { return string(k) == string(before[0]) }) {
		t.Error("the key is still there")
	}
	s := n.enrolled("laptop", false).login("ann@example.org")
	if _, err := n.api.Seen(t.Context(), s.Login); err != nil {
		t.Errorf("a login by the new key: %v", err)
	}
}

// A client that never reported is known from the machine that it is on, and withdrawn in time.
func TestSessionOfAnUnreportedLoginIsWithdrawn(t *testing.T) {
	ticks := &clock{}
	n := start(t, func(cfg *server.Config) { cfg.Now = ticks.Now })
	web := n.enrolled("web", true, "tag:web").follow(nil)
	n.policy("web", "everyone", "tag:web", "deploy")
	key := token.Thumbprint([]byte("nobody ever saw"))
	line, err := json.Marshal(audit.Event{ID: api.NewEventID(time.Now()), Time: time.Now(), Type: audit.SessionStart, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	if err := web.stream.Send(t.Context(), api.Up{Audit: []json.RawMessage{line}}); err != nil {
		t.Fatal(err)
	}
	<-web.acks
	ticks.advance(71 * time.Minute)
	n.policy("more", "everyone", "tag:web", "deploy") // any change shows it now; by itself it comes within half a minute
	m := web.until("the withdrawal", func(m *api.Map) bool { return len(m.Silent) > 0 })
	if m.Silent[0].Key != key {
		t.Errorf("%+v", m.Silent)
	}
}

// A machine that tells of logins which nobody has fills nobody's map, and keeps no other machine's word out.
func TestMachineThatTellsOfTooManyLoginsFillsNoMap(t *testing.T) {
	ticks := &clock{}
	n := start(t, func(cfg *server.Config) { cfg.Now = ticks.Now })
	web := n.enrolled("web", true, "tag:web").follow(nil)
	liar := n.enrolled("liar", true).follow(nil)
	n.policy("web", "everyone", "tag:web", "deploy")
	tell := func(m *machine, keys ...string) {
		t.Helper()
		var lines []json.RawMessage
		for _, k := range keys {
			line, err := json.Marshal(audit.Event{ID: api.NewEventID(time.Now()), Time: time.Now(), Type: audit.SessionStart, Key: k})
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, line)
		}
		if err := m.stream.Send(t.Context(), api.Up{Audit: lines}); err != nil {
			t.Fatal(err)
		}
		<-m.acks
	}
	keys := []string{strings.Repeat("\u2028", 14) + "x", strings.Repeat("x", 41) + "\r\n"} // as long as a thumbprint
	for i := range store.MaxUnreported + 200 {
		keys = append(keys, token.Thumbprint([]byte(strconv.Itoa(i))))
	}
	tell(liar, keys...)
	key := token.Thumbprint([]byte("nobody ever saw"))
	tell(web, key)
	ticks.advance(71 * time.Minute)
	n.policy("more", "everyone", "tag:web", "deploy")
	m := web.until("the withdrawal", func(m *api.Map) bool { return len(m.Silent) > 0 })
	if len(m.Silent) > store.MaxUnreported+1 {
		t.Errorf("the map holds %d logins that one machine told of", len(m.Silent))
	}
	if !slices.ContainsFunc(m.Silent, func(s api.SilentLogin) bool { return s.Key == key }) {
		t.Error("the other machine's word is not there")
	}
	for _, s := range m.Silent {
		if b, err := base64.RawURLEncoding.DecodeString(s.Key); err != nil || len(b) != 32 {
			t.Errorf("%q is no login's key", s.Key)
		}
	}
}
