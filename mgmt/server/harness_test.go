package server_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/ssh"
	"golang.org/x/net/html"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/client"
	"lanyard/mgmt/server"
	"lanyard/sshd/token"
)

// network is a running management server.
type network struct {
	t      testing.TB
	server *server.Server
	state  string
	config server.Config
	api    *client.Client
	stop   func()
}

// start runs a server on loopback until the test ends.
func start(t testing.TB, change ...func(*server.Config)) *network {
	t.Helper()
	cfg := server.Config{
		State: t.TempDir(), HTTP: "127.0.0.1:0", Release: "test", PasswordCost: bcrypt.MinCost + 6, // dex wants 10
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	cfg.BePatient()
	for _, c := range change {
		c(&cfg)
	}
	n := &network{t: t, state: cfg.State, config: cfg}
	n.open()
	t.Cleanup(func() { n.stop() })
	return n
}

func (n *network) open() {
	n.t.Helper()
	s, err := server.Open(n.t.Context(), n.config)
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	n.server = s
	stopped := false
	n.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			n.t.Errorf("serve: %v", err)
		}
		if err := s.Close(); err != nil {
			n.t.Errorf("close: %v", err)
		}
	}
	if n.api, err = client.New(s.Join()); err != nil {
		n.t.Fatal(err)
	}
}

// admin asks through the admin socket and fails the test when it is refused.
func (n *network) admin(method, path string, in, out any) {
	n.t.Helper()
	if err := n.tryAdmin(method, path, in, out); err != nil {
		n.t.Fatalf("%s %s: %v", method, path, err)
	}
}

func (n *network) tryAdmin(method, path string, in, out any) error {
	n.t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(n.state, server.AdminSocket))
	}}}
	var body io.Reader
	if in != nil {
		b, _ := json.Marshal(in)
		body = bytes.NewReader(b)
	}
	req, _ := http.NewRequest(method, "http://x"+path, body)
	req.Header.Set("Content-Type", "application/json")
	return answer(c.Do(req))(out)
}

// answer reads an answer: an api.Error when it is not 2xx.
func answer(res *http.Response, err error) func(out any) error {
	return func(out any) error {
		if err != nil {
			return err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			return err
		}
		if res.StatusCode/100 != 2 {
			e := &api.Error{}
			if json.Unmarshal(b, e) != nil || e.Message == "" {
				return fmt.Errorf("%s without a sentence: %s", res.Status, b)
			}
			return e
		}
		if out == nil || len(b) == 0 {
			return nil
		}
		return json.Unmarshal(b, out)
	}
}

const password = "correct horse"

// user makes a person.
func (n *network) user(email string, more ...string) {
	n.t.Helper()
	in := map[string]any{"email": email, "password": password, "name": strings.ToUpper(email[:1]) + email[1:3]}
	for _, m := range more {
		in[m] = true
	}
	n.admin("POST", "/api/admin/users", in, nil)
}

func (n *network) policy(name, from, to, as string) api.Effect {
	n.t.Helper()
	var out struct{ Effect api.Effect }
	n.admin("PUT", "/api/admin/policies/"+name, map[string]any{"from": []string{from}, "to": []string{to}, "as": []string{as}}, &out)
	return out.Effect
}

func (n *network) setupKey(in map[string]any) string {
	n.t.Helper()
	var out struct{ Key string }
	if in == nil {
		in = map[string]any{}
	}
	n.admin("POST", "/api/admin/setup-keys", in, &out)
	return out.Key
}

// machine is a peer's side.
type machine struct {
	*network
	client.Machine
	request api.EnrollRequest
	mapKey  ed25519.PublicKey
	stream  *client.Stream
	at      *api.Map
	maps    chan *api.Map
	acks    chan []string
	gone    chan string
	name    string
}

func (n *network) machine(name string, ssh bool) *machine {
	pub, priv, _ := ed25519.GenerateKey(rand.Reader)
	wg := make([]byte, 32)
	rand.Read(wg)
	return &machine{network: n, Machine: client.Machine{Key: priv}, request: api.EnrollRequest{
		Name: name, MachineKey: pub, WGKey: wg, OS: "linux", Release: "test", ServesSSH: ssh, HostKeys: []api.SignedKey{hostKey(priv)},
	}}
}

func hostKey(machine ed25519.PrivateKey) api.SignedKey {
	pub, _, _ := ed25519.GenerateKey(rand.Reader)
	k, _ := ssh.NewPublicKey(pub)
	return api.SignedKey{Key: k.Marshal(), Sig: ed25519.Sign(machine, api.HostKeyMessage(k.Marshal()))}
}

func (m *machine) took(r *api.EnrollReply, err error) *machine {
	m.t.Helper()
	if err != nil {
		m.t.Fatalf("enrol %s: %v", m.request.Name, err)
	}
	m.Subject, m.mapKey, m.name = r.PeerID, r.MapKey, r.Name
	return m
}

// enrolled is a machine that joined with a setup key.
func (n *network) enrolled(name string, ssh bool, tags ...string) *machine {
	n.t.Helper()
	m := n.machine(name, ssh)
	m.request.SetupKey = n.setupKey(map[string]any{"tags": tags})
	return m.took(n.api.Enroll(n.t.Context(), m.Machine, m.request))
}

// enrolBy enrols the machine as somebody's own.
func (m *machine) enrolBy(email string) *machine {
	m.t.Helper()
	s := m.login(email)
	body, err := json.Marshal(m.request)
	if err != nil {
		m.t.Fatal(err)
	}
	h, err := m.api.LoginProof(s.Login, "POST", api.RouteEnroll, body)
	if err != nil {
		m.t.Fatal(err)
	}
	return m.took(m.api.EnrollBody(m.t.Context(), m.Machine, body, h))
}

// follow puts every map in force as it comes, and answers with what "ended" returns.
func (m *machine) follow(ended func(*api.Map) []string) *machine {
	m.t.Helper()
	var have api.Have
	if m.at != nil {
		have = api.Have{Epoch: m.at.Epoch, Version: m.at.Version}
	}
	s, err := m.api.Follow(m.t.Context(), m.Machine, have)
	if err != nil {
		m.t.Fatalf("follow: %v", err)
	}
	m.stream, m.maps, m.acks, m.gone = s, make(chan *api.Map, 64), make(chan []string, 64), make(chan string, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			d, err := s.Recv(context.Background())
			if err != nil {
				return
			}
			switch {
			case d.Map != nil:
				var mm api.Map
				if !ed25519.Verify(m.mapKey, api.MapMessage(d.Map.Map), d.Map.Sig) {
					m.t.Error("a map is not signed by the map key")
				}
				if err := json.Unmarshal(d.Map.Map, &mm); err != nil {
					m.t.Error(err)
				}
				ack := api.Ack{Version: mm.Version}
				if ended != nil {
					ack.Ended = ended(&mm)
				}
				if s.Send(context.Background(), api.Up{Ack: &ack}) != nil {
					return
				}
				m.maps <- &mm
			case d.AuditAck != nil:
				m.acks <- d.AuditAck
			case d.Gone != "":
				m.gone <- d.Gone
			}
		}
	}()
	m.t.Cleanup(func() { s.Close(); <-done })
	return m
}

// until waits for a map that fits.
func (m *machine) until(what string, fits func(*api.Map) bool) *api.Map {
	m.t.Helper()
	if m.at != nil && fits(m.at) {
		return m.at
	}
	for {
		select {
		case m.at = <-m.maps:
			if fits(m.at) {
				return m.at
			}
		case <-time.After(2 * time.Minute):
			m.t.Fatalf("%s got no map with %s", m.request.Name, what)
		}
	}
}

// signIn is a login in progress, with what only the client knows.
type signIn struct {
	client.Login
	verifier string
	start    api.LoginStart
	started  *api.LoginStarted
	browser  *http.Client
	refresh  string
}

type tokens struct {
	ID      string `json:"id_token"`
	Refresh string `json:"refresh_token"`
	Error   string `json:"error"`
	Detail  string `json:"error_description"`
}

// push begins a login at the machine.
func (m *machine) push(purpose string) (*signIn, error) {
	m.t.Helper()
	key, salt, err := token.NewKey(time.Now())
	if err != nil {
		m.t.Fatal(err)
	}
	wire, _ := ssh.NewPublicKey(key.Public())
	v := make([]byte, 32)
	rand.Read(v)
	s := &signIn{Login: client.Login{Key: key, Salt: salt}, verifier: base64.RawURLEncoding.EncodeToString(v)}
	challenge := sha256.Sum256([]byte(s.verifier))
	s.start = api.LoginStart{
		Purpose: purpose, Issuer: m.server.URL() + "/dex", Account: "ann", MachineName: m.request.Name, Key: wire.Marshal(), Salt: salt,
		CodeChallenge: base64.RawURLEncoding.EncodeToString(challenge[:]), RedirectURI: "http://127.0.0.1:9/callback", State: "state-state",
	}
	s.browser = newBrowser(m.t)
	s.started, err = m.api.Login(m.t.Context(), m.Machine, s.start)
	return s, err
}

// newBrowser keeps cookies and does not follow redirects by itself.
func newBrowser(t testing.TB) *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

type document struct {
	status int
	to     string // where a redirect goes
	text   string
	action string
	fields url.Values
	header http.Header
}

func read(t testing.TB, res *http.Response, err error) document {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	d := document{status: res.StatusCode, to: res.Header.Get("Location"), fields: url.Values{}, header: res.Header}
	root, err := html.Parse(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var walk func(*html.Node)
	walk = func(n *html.Node) {
		attr := map[string]string{}
		for _, a := range n.Attr {
			attr[a.Key] = a.Val
		}
		switch n.Data {
		case "form":
			d.action = attr["action"]
		case "input", "button":
			if attr["name"] != "" {
				d.fields.Set(attr["name"], attr["value"])
			}
		}
		if n.Type == html.TextNode {
			d.text += n.Data
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c)
		}
	}
	walk(root)
	return d
}

func (n *network) at(path string) string {
	if strings.HasPrefix(path, "http") {
		return path
	}
	return n.server.URL() + path
}

func (n *network) get(b *http.Client, path string) document {
	n.t.Helper()
	res, err := b.Get(n.at(path))
	return read(n.t, res, err)
}

func (n *network) post(b *http.Client, path string, form url.Values) document {
	n.t.Helper()
	res, err := b.PostForm(n.at(path), form)
	return read(n.t, res, err)
}

// form goes as far as the password form.
func (n *network) form(s *signIn) document {
	n.t.Helper()
	page := n.get(s.browser, s.started.AuthURL)
	if page.status != 200 || !strings.Contains(page.text, s.started.ShortCode) {
		n.t.Fatalf("the page that asks: %d %s", page.status, page.text)
	}
	page = n.post(s.browser, page.action, page.fields)
	if page.status != http.StatusSeeOther {
		n.t.Fatalf("after the button: %d %s", page.status, page.text)
	}
	return n.get(s.browser, page.to)
}

// code signs in and returns what the loopback listener gets.
func (n *network) code(s *signIn, email, pw string) url.Values {
	n.t.Helper()
	page := n.form(s)
	page.fields.Set("login", email)
	page.fields.Set("password", pw)
	page = n.post(s.browser, page.action, page.fields)
	for page.status == http.StatusSeeOther && !strings.HasPrefix(page.to, s.start.RedirectURI) {
		page = n.get(s.browser, page.to)
	}
	to, err := url.Parse(page.to)
	if page.status != http.StatusSeeOther || err != nil {
		return url.Values{"page": {page.text}, "status": {fmt.Sprint(page.status)}}
	}
	return to.Query()
}

func (n *network) token(form url.Values) tokens {
	n.t.Helper()
	return n.tokenOf("lanyard", form)
}

func (n *network) tokenOf(client string, form url.Values) tokens {
	n.t.Helper()
	form.Set("client_id", client)
	res, err := http.PostForm(n.server.URL()+"/dex/token", form)
	if err != nil {
		n.t.Fatal(err)
	}
	defer res.Body.Close()
	var out tokens
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		n.t.Fatalf("the token endpoint answered %s: %v", res.Status, err)
	}
	return out
}

func (n *network) exchange(s *signIn, code string) tokens {
	n.t.Helper()
	return n.token(url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {s.start.RedirectURI}, "code_verifier": {s.verifier},
	})
}

func (n *network) refresh(s *signIn) tokens {
	n.t.Helper()
	out := n.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {s.refresh}})
	if out.Refresh != "" {
		s.refresh = out.Refresh
	}
	return out
}

// login signs a person in at the machine, all the way.
func (m *machine) login(email string) *signIn {
	m.t.Helper()
	s, err := m.push(purposeOf(m))
	if err != nil {
		m.t.Fatal(err)
	}
	back := m.code(s, email, password)
	if back.Get("code") == "" || back.Get("state") != s.start.State || back.Get("iss") != m.server.URL()+"/dex" {
		m.t.Fatalf("signing in as %s: %v", email, back)
	}
	t := m.exchange(s, back.Get("code"))
	if t.ID == "" || t.Refresh == "" {
		m.t.Fatalf("no tokens: %+v", t)
	}
	s.Bound, s.refresh = t.ID, t.Refresh
	return s
}

func purposeOf(m *machine) string {
	if m.Subject == "" {
		return api.PurposeEnroll
	}
	return api.PurposeLogin
}

// refused wants an api.Error with the status and a part of its sentence or its code.
func refused(t *testing.T, err error, status int, part string) {
	t.Helper()
	e, ok := err.(*api.Error)
	if !ok || e.Status != status || !strings.Contains(e.Message+" ["+e.Code+"]", part) {
		t.Fatalf("got %v (%#v), want %d with %q", err, err, status, part)
	}
}

// clock is the real time, or one that stands, and what was added to it.
type clock struct {
	ahead  atomic.Int64
	stands atomic.Pointer[time.Time]
}

func (c *clock) Now() time.Time {
	at := time.Now()
	if s := c.stands.Load(); s != nil {
		at = *s
	}
	return at.Add(time.Duration(c.ahead.Load()))
}

func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// stop lets the clock stand, for what must not depend on how fast this machine is. Proofs go by the real time, and may be a
// minute off.
func (c *clock) stop() {
	now := time.Now()
	c.stands.Store(&now)
}

// goOn lets it run again.
func (c *clock) goOn() { c.stands.Store(nil) }
