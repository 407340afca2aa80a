package mirror

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/store"
)

// provider is somebody else's, as far as a mirror sees it.
type provider struct {
	*httptest.Server

	mu       sync.Mutex // guards the rest
	keys     []map[string]string
	name     string // what it calls itself; empty: its URL
	down     bool
	redirect string
	padding  int // bytes
	asked    int // for its keys
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch {
		case p.down:
			w.WriteHeader(http.StatusInternalServerError)
		case p.redirect != "":
			http.Redirect(w, r, p.redirect+r.URL.Path, http.StatusFound)
		case r.URL.Path == "/.well-known/openid-configuration":
			name := p.name
			if name == "" {
				name = p.URL
			}
			json.NewEncoder(w).Encode(map[string]string{"issuer": name, "jwks_uri": p.URL + "/keys"})
		case r.URL.Path == "/keys":
			p.asked++
			json.NewEncoder(w).Encode(map[string]any{"keys": p.keys, "padding": strings.Repeat("x", p.padding)})
		}
	}))
	t.Cleanup(p.Close)
	p.rotate("k1")
	return p
}

func key(kid string) map[string]string {
	public, _, _ := ed25519.GenerateKey(rand.Reader)
	return map[string]string{
		"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": base64.RawURLEncoding.EncodeToString(public), "x5t": "left out",
	}
}

// rotate publishes a new key and withdraws the others.
func (p *provider) rotate(kid string) { p.set(func() { p.keys = []map[string]string{key(kid)} }) }

func (p *provider) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *provider) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// mirrored is a Mirror on a database of its own, with a clock that the test sets.
type mirrored struct {
	*Mirror
	t       *testing.T
	store   *store.Store
	ahead   atomic.Int64
	changes atomic.Int32
}

var start = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func (m *mirrored) now() time.Time        { return start.Add(time.Duration(m.ahead.Load())) }
func (m *mirrored) later(d time.Duration) { m.ahead.Add(int64(d)) }

const lifetime = 24 * time.Hour

func open(t *testing.T) *mirrored {
	t.Helper()
	m := &mirrored{t: t}
	var err error
	if m.store, err = store.Open(t.Context(), t.TempDir(), m.now); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.store.Close() })
	m.open()
	t.Cleanup(func() { m.Close() })
	return m
}

func (m *mirrored) open() {
	m.t.Helper()
	var err error
	m.Mirror, err = Open(m.t.Context(), Config{
		Store: m.store, Lifetime: lifetime, Changed: func() { m.changes.Add(1) }, Log: slog.New(slog.NewTextHandler(m.t.Output(), nil)), Now: m.now,
		Patience: time.Minute,
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

// add does what the management server does when an administrator adds a provider.
func (m *mirrored) add(p *provider) {
	m.t.Helper()
	is := api.Issuer{URL: p.URL, ClientID: "lanyard"}
	keys, err := m.Find(m.t.Context(), p.URL)
	if err == nil {
		err = m.store.PutIssuer(m.t.Context(), is)
	}
	if err == nil {
		err = m.Put(m.t.Context(), is, keys)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// kids are those that tokens of the provider may name now, and those that logins of before may.
func (m *mirrored) kids() (published, withdrawn string) {
	m.t.Helper()
	all := m.Issuers()
	if len(all) != 1 {
		m.t.Fatalf("%d providers", len(all))
	}
	names := func(keys []json.RawMessage) string {
		var out []string
		for _, k := range keys {
			var jwk struct{ KID, X5T string }
			if err := json.Unmarshal(k, &jwk); err != nil || jwk.X5T != "" {
				m.t.Errorf("%s: %v", k, err)
			}
			out = append(out, jwk.KID)
		}
		return strings.Join(out, " ")
	}
	return names(all[0].Keys), names(all[0].Withdrawn)
}

func (m *mirrored) want(published, withdrawn string) {
	m.t.Helper()
	if p, w := m.kids(); p != published || w != withdrawn {
		m.t.Errorf("published %q and withdrawn %q, want %q and %q", p, w, published, withdrawn)
	}
}

func (m *mirrored) look(p *provider, want bool) {
	m.t.Helper()
	if changed, err := m.Look(m.t.Context(), p.URL); err != nil || changed != want {
		m.t.Errorf("changed %v, %v", changed, err)
	}
}

func TestNewKeyIsTakenAndTheOldOneKeptForItsLogins(t *testing.T) {
	m, p := open(t), newProvider(t)
	m.add(p)
	m.want("k1", "")
	m.look(p, false)
	p.rotate("k2")
	m.look(p, true)
	m.want("k2", "k1")
	if n := m.changes.Load(); n != 1 {
		t.Errorf("%d changes were told of", n)
	}
	// No login of k1's is left after a lifetime.
	m.later(lifetime + 2*time.Hour)
	m.look(p, true)
	m.want("k2", "")
}

func TestProviderIsAskedSoOftenAndNoMore(t *testing.T) {
	m, p := open(t), newProvider(t)
	m.add(p)
	before := p.count()
	for range 50 {
		if _, err := m.Look(t.Context(), p.URL); err != nil {
			t.Fatal(err)
		}
	}
	if n := p.count() - before; n != burst {
		t.Errorf("50 looks asked it %d times, want %d", n, burst)
	}
	m.later(floor)
	p.rotate("k2")
	m.look(p, true)
	if changed, err := m.Look(t.Context(), "https://nobody.example"); changed || err != nil {
		t.Errorf("a provider that nobody added: %v, %v", changed, err)
	}
}

func TestProviderThatFailsKeepsItsKeys(t *testing.T) {
	other := newProvider(t)
	for name, fail := range map[string]func(p *provider){
		"an error":     func(p *provider) { p.down = true },
		"another name": func(p *provider) { p.name = "https://other.example" },
		"sent elsewhere": func(p *provider) { // to somebody who takes its name
			other.set(func() { other.name = p.URL })
			p.redirect = other.URL
		},
		"no key":             func(p *provider) { p.keys = nil },
		"no key that serves": func(p *provider) { p.keys = []map[string]string{{"kty": "oct", "kid": "k", "k": "AAAA"}} },
		"too long":           func(p *provider) { p.padding = maxAnswer },
		"too many keys": func(p *provider) {
			for i := range maxKeys + 1 {
				p.keys = append(p.keys, key(fmt.Sprint(i)))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, p := open(t), newProvider(t)
			m.add(p)
			p.set(func() { fail(p) })
			if changed, err := m.Look(t.Context(), p.URL); err == nil || changed {
				t.Errorf("changed %v, %v", changed, err)
			}
			m.want("k1", "")
			if st := m.States(); st[0].Err == nil || !st[0].Seen.Equal(start) {
				t.Errorf("nobody is told: %+v", st[0])
			}
			if _, err := m.Find(t.Context(), p.URL); err == nil {
				t.Error("it could be added like this")
			}
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
			m.open() // a restart
			m.want("k1", "")
		})
	}
}

func TestProviderIsLookedAtUnasked(t *testing.T) {
	m, p := open(t), newProvider(t)
	m.add(p)
	p.rotate("k2")
	m.later(lookEvery + time.Second)
	select {
	case m.wake <- struct{}{}:
	default:
	}
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if published, _ := m.kids(); published == "k2" {
			return
		}
		if time.Now().After(end) {
			t.Fatal("its new key was not found")
		}
	}
}

func TestRemovedProviderIsForgotten(t *testing.T) {
	m, p := open(t), newProvider(t)
	m.add(p)
	m.Remove(p.URL)
	if n := len(m.Issuers()) + len(m.Public()) + len(m.States()); n != 0 {
		t.Errorf("%d are left", n)
	}
	before := p.count()
	m.look(p, false)
	if p.count() != before {
		t.Error("it was asked all the same")
	}
}

func TestPublicHasNoKeys(t *testing.T) {
	m, p := open(t), newProvider(t)
	m.add(p)
	if all := m.Public(); len(all) != 1 || all[0].URL != p.URL || len(all[0].Keys)+len(all[0].Withdrawn) != 0 {
		t.Errorf("%+v", all)
	}
	m.want("k1", "")
}

func TestAddressesThatOthersCouldAnswerForAreRefused(t *testing.T) {
	for _, good := range []string{"https://id.example.com", "https://id.example.com/realms/work", "http://127.0.0.1:5556/dex", "http://[::1]:1", "http://localhost"} {
		if err := CheckURL(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "id.example.com", "http://id.example.com", "http://10.0.0.1", "http://localhost.example.com", "http://127.0.0.1.example.com",
		"https://", "https://ann@id.example.com", "https://id.example.com#x", "ftp://id.example.com", "file:///etc/passwd", "https://id\x00.example",
	} {
		if err := CheckURL(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// What listens on the server's own loopback answers whoever asks from there: a provider on the web does not have it asked.
func TestProviderOnTheWebHasNothingAskedOnThisMachine(t *testing.T) {
	inside := newProvider(t)
	var at atomic.Value
	at.Store(inside.URL + "/keys")
	var web *httptest.Server
	web = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keys" {
			json.NewEncoder(w).Encode(map[string]any{"keys": []map[string]string{key("k1")}})
			return
		}
		json.NewEncoder(w).Encode(map[string]string{"issuer": web.URL, "jwks_uri": at.Load().(string)})
	}))
	defer web.Close()
	m := open(t)
	m.http.Transport = web.Client().Transport
	if _, err := m.Find(t.Context(), web.URL); err == nil || inside.count() != 0 {
		t.Errorf("asked %d times: %v", inside.count(), err)
	}
	at.Store(web.URL + "/keys")
	if keys, err := m.Find(t.Context(), web.URL); err != nil || len(keys) != 1 {
		t.Error(keys, err)
	}
}
