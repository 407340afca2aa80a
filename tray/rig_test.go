//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/prop"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/client"
	"lanyard/platform/paths"
	"lanyard/platform/sessionbus/bustest"
	"lanyard/service/ipc"
	"lanyard/service/keystore"
	"lanyard/service/login"
	"lanyard/sshd/token"
	"lanyard/tray/icons"
	"lanyard/tray/menu"
)

// TestMain lets the test program be the tray, race detector and all.
func TestMain(m *testing.M) {
	if os.Getenv("LANYARD_TEST_TRAY") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// panel is a watcher without a screen: it takes icons as xfce4-panel does, one for each connection and path.
type panel struct {
	conn  *dbus.Conn
	items chan string // bus name and path of each that registers

	mu   sync.Mutex
	seen map[string]int // guarded by mu
}

func (p *panel) RegisterStatusNotifierItem(sender dbus.Sender, s string) *dbus.Error {
	if strings.HasPrefix(s, "/") {
		s = string(sender) + s
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen[s]++; p.seen[s] == 1 {
		p.items <- s
	}
	return nil
}
func (p *panel) RegisterStatusNotifierHost(string) *dbus.Error { return nil }

func startPanel(t *testing.T, addr string) *panel {
	t.Helper()
	p := &panel{conn: bustest.Connect(t, addr), items: make(chan string, 8), seen: map[string]int{}}
	p.conn.Export(p, watcherPath, watcherName)
	_, err := prop.Export(p.conn, watcherPath, prop.Map{watcherName: {
		"IsStatusNotifierHostRegistered": {Value: true}, "ProtocolVersion": {Value: int32(0)}, "RegisteredStatusNotifierItems": {Value: []string{}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.conn.RequestName(watcherName, dbus.NameFlagDoNotQueue)
	if err != nil || got != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(got, err)
	}
	return p
}

// item waits for an icon and returns the bus name of its program.
func (p *panel) item(t *testing.T) string {
	t.Helper()
	select {
	case s := <-p.items:
		name, _, _ := strings.Cut(s, "/")
		return name
	case <-time.After(time.Minute):
		t.Fatal("no icon was registered")
		return ""
	}
}

// notes is a notification service that writes down what it shows.
type notes struct {
	conn *dbus.Conn

	mu  sync.Mutex
	all []shownNote // guarded by mu
}

type shownNote struct {
	id          uint32
	title, body string
	actions     []string
}

func startNotes(t *testing.T, addr string) *notes {
	t.Helper()
	n := &notes{conn: bustest.Connect(t, addr)}
	n.conn.Export(n, "/org/freedesktop/Notifications", "org.freedesktop.Notifications")
	if got, err := n.conn.RequestName("org.freedesktop.Notifications", dbus.NameFlagDoNotQueue); err != nil || got != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(got, err)
	}
	return n
}

func (n *notes) GetCapabilities() ([]string, *dbus.Error) {
	return []string{"actions", "body", "body-markup"}, nil
}

func (n *notes) Notify(_ string, replaces uint32, _, title, body string, actions []string, _ map[string]dbus.Variant, _ int32) (uint32, *dbus.Error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	id := replaces
	if id == 0 {
		id = uint32(len(n.all) + 1)
	}
	n.all = append(n.all, shownNote{id, title, body, actions})
	return id, nil
}

// titled waits for a note.
func (n *notes) titled(t *testing.T, title string) shownNote {
	t.Helper()
	var found shownNote
	until(t, time.Minute, func() error {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, x := range n.all {
			if x.title == title {
				found = x
				return nil
			}
		}
		return fmt.Errorf("no notification %q among %+v", title, n.all)
	})
	return found
}

func (n *notes) count(title string) (c int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, x := range n.all {
		if x.title == title {
			c++
		}
	}
	return c
}

// press presses a button a moment after the note is there, as a person would: its number has to reach the tray first.
func (n *notes) press(t *testing.T, x shownNote, key string) {
	t.Helper()
	time.Sleep(settled)
	if err := n.conn.Emit("/org/freedesktop/Notifications", "org.freedesktop.Notifications.ActionInvoked", x.id, key); err != nil {
		t.Fatal(err)
	}
}

const self = "p234567abcdefghij"

// service stands in for the daemon: the real socket and protocol, with a status that the test sets.
type service struct {
	t      *testing.T
	path   string
	server *ipc.Server

	mu      sync.Mutex // guards what follows
	status  ipc.Status
	changed chan struct{}
	ended   []string
	ups     []ipc.UpRequest
	downs   int
	login   func(api.LoginStart) (*api.LoginStarted, error)
	url     string // of the management server
	answers []ipc.Answer
	asks    chan ipc.Ask // what programs wait for
}

func newService(t *testing.T, path string) *service {
	t.Helper()
	d := &service{t: t, path: path, changed: make(chan struct{}), asks: make(chan ipc.Ask), status: ipc.Status{Release: "test", State: ipc.StateNew}}
	d.start()
	t.Cleanup(d.stop)
	return d
}

func (d *service) start() {
	d.t.Helper()
	l, err := ipc.Listen(d.path, false)
	if err != nil {
		d.t.Fatal(err)
	}
	d.server = ipc.Serve(l, ipc.Calls{
		Access: func() ipc.Access { return ipc.Access{} },
		Status: func(ipc.Who) *ipc.Status {
			d.mu.Lock()
			defer d.mu.Unlock()
			s := d.status
			return &s
		},
		Changed: func() <-chan struct{} {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.changed
		},
		Machine: func() *ipc.Machine {
			d.mu.Lock()
			defer d.mu.Unlock()
			return &ipc.Machine{Profile: "default", Server: d.url, Enrolled: true, PeerID: self, Name: "laptop"}
		},
		Login: func(_ context.Context, s api.LoginStart) (*api.LoginStarted, error) {
			d.mu.Lock()
			login := d.login
			d.mu.Unlock()
			return login(s)
		},
		Up: func(_ context.Context, r ipc.UpRequest, _ func(string)) (bool, error) {
			d.mu.Lock()
			d.ups = append(d.ups, r)
			d.mu.Unlock()
			return false, nil
		},
		Down: func(context.Context) error {
			d.mu.Lock()
			d.downs++
			d.mu.Unlock()
			return nil
		},
		End: func(_ ipc.Who, id string) error {
			d.mu.Lock()
			d.ended = append(d.ended, id)
			d.mu.Unlock()
			return nil
		},
		Connect: func(context.Context, string, uint16) (net.Conn, error) { return nil, net.ErrClosed },
		Asks: func(ctx context.Context, _ ipc.Who, send func(ipc.Ask) error) error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case a := <-d.asks:
					if err := send(a); err != nil {
						return err
					}
				}
			}
		},
		Answer: func(_ ipc.Who, a ipc.Answer) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.answers = append(d.answers, a)
			return nil
		},
	}, slog.New(slog.DiscardHandler))
}

func (d *service) stop() {
	if d.server != nil {
		d.server.Close()
		d.server = nil
	}
}

func (d *service) set(s ipc.Status) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.status = s
	close(d.changed)
	d.changed = make(chan struct{})
}

// running is a tray as a program, on a bus and in a home of its own.
type running struct {
	t     *testing.T
	addr  string
	env   []string
	home  string
	out   *bytes.Buffer
	cmd   *exec.Cmd
	done  chan error
	panel *panel
	notes *notes
	conn  *dbus.Conn
	name  string
	tools string // folder of programs that the tray finds first
	exe   string // the program, when it is not this one
}

// place makes a home, and has this process look where the tray will: for the socket and the sign-in.
func place(t *testing.T) (home string) {
	t.Helper()
	home, err := os.MkdirTemp("", "lt-") // short: a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	t.Setenv("HOME", home)
	t.Setenv("LANYARD_STATE_DIR", filepath.Join(home, "state"))
	t.Setenv("LANYARD_RUN_DIR", filepath.Join(home, "run"))
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
	if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	return home
}

func socketHere() string { return paths.System(paths.DefaultProfile).Socket }

// startTray starts a tray with a panel and notifications.
func startTray(t *testing.T, home string) *running {
	t.Helper()
	addr, _ := bustest.Start(t)
	r := &running{t: t, addr: addr, home: home, panel: startPanel(t, addr), notes: startNotes(t, addr), conn: bustest.Connect(t, addr)}
	r.start()
	r.name = r.panel.item(t)
	return r
}

// start starts the program.
func (r *running) start(args ...string) {
	r.t.Helper()
	exe, err := os.Executable()
	if r.exe != "" {
		exe = r.exe
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.tools = filepath.Join(r.home, "tools")
	os.MkdirAll(r.tools, 0o755)
	r.cmd = exec.Command(exe, args...)
	r.cmd.Env = append([]string{
		"LANYARD_TEST_TRAY=1", "DBUS_SESSION_BUS_ADDRESS=" + r.addr, "HOME=" + r.home, "PATH=" + r.tools + ":/usr/bin:/bin", "DISPLAY=:none",
		"LANYARD_STATE_DIR=" + os.Getenv("LANYARD_STATE_DIR"), "LANYARD_RUN_DIR=" + os.Getenv("LANYARD_RUN_DIR"), "XDG_CONFIG_HOME=" + filepath.Join(r.home, "config"),
	}, r.env...)
	if tz, ok := os.LookupEnv("TZ"); ok { // times are shown in it
		r.cmd.Env = append(r.cmd.Env, "TZ="+tz)
	}
	r.out, r.done = &bytes.Buffer{}, make(chan error, 1)
	r.cmd.Stdout, r.cmd.Stderr = r.out, r.out
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	cmd, done := r.cmd, r.done
	go func() { done <- cmd.Wait() }()
	r.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-time.After(time.Minute):
			r.t.Errorf("the tray did not end")
			cmd.Process.Kill()
		case <-done:
		}
		done <- nil
		if strings.Contains(r.out.String(), "DATA RACE") || strings.Contains(r.out.String(), "panic:") || r.t.Failed() {
			r.t.Errorf("the tray said:\n%s", r.out)
		}
	})
}

// ended waits for the program's end.
func (r *running) ended() error {
	r.t.Helper()
	select {
	case err := <-r.done:
		r.done <- err
		return err
	case <-time.After(time.Minute):
		r.t.Fatal("the tray still runs")
		return nil
	}
}

// node is a row as the panel sees it.
type node struct {
	id    int32
	props map[string]dbus.Variant
	kids  []node
}

func (r *running) layout() (node, error) {
	var rev uint32
	var raw []any
	o := r.conn.Object(r.name, itemPath+"/menu")
	if err := o.Call("com.canonical.dbusmenu.GetLayout", 0, int32(0), int32(-1), []string{}).Store(&rev, &raw); err != nil {
		return node{}, err
	}
	// A submenu's rows come once its own properties were asked for, as panels do.
	if err := o.Call("com.canonical.dbusmenu.GetGroupProperties", 0, toNode(raw).ids(), []string{}).Err; err != nil {
		return node{}, err
	}
	return toNode(raw), nil
}

func toNode(raw []any) node {
	n := node{id: raw[0].(int32), props: raw[1].(map[string]dbus.Variant)}
	for _, v := range raw[2].([]dbus.Variant) {
		n.kids = append(n.kids, toNode(v.Value().([]any)))
	}
	return n
}

// ids are those of all rows.
func (n node) ids() []int32 {
	all := []int32{n.id}
	for _, k := range n.kids {
		all = append(all, k.ids()...)
	}
	return all
}

func (n node) label() string {
	s, _ := n.props["label"].Value().(string)
	return strings.ReplaceAll(s, "__", "_")
}

func (n node) hidden() bool {
	v, ok := n.props["visible"]
	return ok && v.Value() == false
}

func (n node) find(label string) *node {
	for _, k := range n.kids {
		if k.hidden() {
			continue
		}
		if k.label() == label {
			return &k
		}
		if x := k.find(label); x != nil {
			return x
		}
	}
	return nil
}

// labels are the visible rows.
func (n node) labels() (all []string) {
	for _, k := range n.kids {
		if !k.hidden() && k.label() != "" {
			all = append(append(all, k.label()), k.labels()...)
		}
	}
	return all
}

// shows waits until the panel sees a row.
func (r *running) shows(label string) *node {
	r.t.Helper()
	var found *node
	until(r.t, time.Minute, func() error {
		n, err := r.layout()
		if err != nil {
			return err
		}
		if found = n.find(label); found == nil {
			return fmt.Errorf("no row %q in:\n%s", label, strings.Join(n.labels(), "\n"))
		}
		return nil
	})
	return found
}

// is waits until the panel sees exactly the rows and the icon of m.
func (r *running) is(m menu.Menu) {
	r.t.Helper()
	want := titles(m.Rows)
	until(r.t, time.Minute, func() error {
		n, err := r.layout()
		if err != nil {
			return err
		}
		if got := n.labels(); !slices.Equal(got, want) {
			return fmt.Errorf("the panel shows:\n%s\n-- want:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if got := r.icon(); got != m.Icon {
			return fmt.Errorf("the icon is %q, want %q", got, m.Icon)
		}
		return nil
	})
}

func titles(rows []menu.Row) (all []string) {
	for _, r := range rows {
		if !r.Hidden && !r.Separator {
			all = append(append(all, r.Title), titles(r.Rows)...)
		}
	}
	return all
}

// icon tells by its pixels which picture the panel has.
func (r *running) icon() menu.Icon {
	v, err := r.conn.Object(r.name, itemPath).GetProperty("org.kde.StatusNotifierItem.IconPixmap")
	if err != nil {
		return menu.Icon(err.Error())
	}
	var px []struct {
		W, H int32
		Pix  []byte
	}
	if err := v.Store(&px); err != nil || len(px) != 1 {
		return menu.Icon(fmt.Sprint(len(px), err))
	}
	for _, icon := range menu.Icons() {
		img := icons.Draw(icon, int(px[0].W))
		same := true
		for i := 0; i < len(px[0].Pix) && same; i += 4 {
			same = img.Pix[i+3] == px[0].Pix[i] && (px[0].Pix[i] < 255 || bytes.Equal(img.Pix[i:i+3], px[0].Pix[i+1:i+4]))
		}
		if same {
			return icon
		}
	}
	return "none of ours"
}

// click clicks a row once it is there and has been there for a moment, as a person would.
func (r *running) click(label string) {
	r.t.Helper()
	n := r.shows(label)
	time.Sleep(settled) // a click on a row that has just changed does not count
	r.send(n.id)
}

func (r *running) send(id int32) {
	r.t.Helper()
	if err := r.conn.Object(r.name, itemPath+"/menu").Call("com.canonical.dbusmenu.Event", 0, id, "clicked", dbus.MakeVariant(""), uint32(0)).Err; err != nil {
		r.t.Fatal(err)
	}
}

// idToken is a token as a provider would issue it; nobody here checks the signature.
func idToken(t *testing.T, email, nonce string, issued time.Time) string {
	t.Helper()
	part := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	return part(map[string]any{"alg": "EdDSA", "kid": "k"}) + "." + part(map[string]any{
		"iss": "https://idp.example", "sub": email, "aud": "lanyard", "email": email, "nonce": nonce,
		"iat": issued.Unix(), "exp": issued.Add(time.Hour).Unix(),
	}) + "." + base64.RawURLEncoding.EncodeToString([]byte("signature"))
}

// signInHere puts a sign-in into the files, as another program would.
func signInHere(t *testing.T, email string, issued, ends time.Time) {
	t.Helper()
	signInWith(t, email, issued, login.Record{Ends: ends})
}

// signInWith is signInHere with all that a refresh needs.
func signInWith(t *testing.T, email string, issued time.Time, record login.Record) *login.Login {
	t.Helper()
	key, salt, err := token.NewKey(issued)
	if err != nil {
		t.Fatal(err)
	}
	wire, err := wireOf(key)
	if err != nil {
		t.Fatal(err)
	}
	bound := idToken(t, email, token.Nonce(salt, wire), issued)
	claims, err := token.Peek(bound)
	if err != nil {
		t.Fatal(err)
	}
	p := paths.Find(paths.DefaultProfile)
	l := &login.Login{Login: client.Login{Key: key, Salt: salt, Bound: bound}, Claims: claims, Record: record}
	if err := l.Save(p, keystore.Open(p.Login, nil, nil), self, issued); err != nil {
		t.Fatal(err)
	}
	return l
}
