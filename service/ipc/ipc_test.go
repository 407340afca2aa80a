package ipc

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// fake is a daemon that does nothing but count.
type fake struct {
	mu        sync.Mutex
	access    Access
	ups       int
	account   string
	changed   chan struct{}
	certified Account // who asked for a machine certificate
}

func (f *fake) calls() Calls {
	return Calls{
		Access: func() Access { f.mu.Lock(); defer f.mu.Unlock(); return f.access },
		Status: func(Who) *Status {
			f.mu.Lock()
			defer f.mu.Unlock()
			return &Status{Profile: "default", Audit: Audit{Pending: f.ups}}
		},
		Changed: func() <-chan struct{} { f.mu.Lock(); defer f.mu.Unlock(); return f.changed },
		Machine: func() *Machine { return &Machine{Name: "web-1"} },
		Login: func(_ context.Context, s api.LoginStart) (*api.LoginStarted, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.account = s.Account
			return &api.LoginStarted{ShortCode: "AB12"}, nil
		},
		Certificate: func(w Who, _ MachineCertificateRequest) (*MachineCertificate, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.certified = w.Account
			return &MachineCertificate{Account: w.Name}, nil
		},
		Explain: func(_ context.Context, _ Who, r api.ExplainRequest) (*api.ExplainReply, error) {
			return nil, reason.Errorf(reason.NoRule, "secret detail")
		},
		Connect: func(ctx context.Context, host string, port uint16) (net.Conn, error) {
			if host != "echo" {
				return nil, &api.Error{Status: http.StatusNotFound, Message: "No such machine."}
			}
			a, b := net.Pipe()
			go func() { io.Copy(b, b); b.Close() }()
			return a, nil
		},
		Up: func(_ context.Context, r UpRequest, say func(string)) (bool, error) {
			say("one")
			say("two")
			f.mu.Lock()
			defer f.mu.Unlock()
			f.ups++
			close(f.changed)
			f.changed = make(chan struct{})
			if r.URL == "bad" {
				return false, errors.New("a sentence")
			}
			return r.URL == "login", nil
		},
		Down:   func(context.Context) error { return nil },
		Enroll: func(context.Context, EnrollByPerson) (*api.EnrollReply, error) { return &api.EnrollReply{}, nil },
		Ask: func(_ context.Context, w Who, r AskRequest) error {
			return &api.Error{Status: http.StatusForbidden, Message: w.Name + " asks for " + r.To}
		},
		Asks: func(_ context.Context, w Who, send func(Ask) error) error {
			return send(Ask{ID: "1", To: w.Name})
		},
		Answer: func(w Who, a Answer) error {
			return &api.Error{Status: http.StatusForbidden, Message: w.Name + " says " + string(a.How) + " to " + a.ID}
		},
		End: func(w Who, id string) error {
			if w.Class != ClassChange {
				return &api.Error{Status: http.StatusForbidden, Message: "Not yours."}
			}
			return nil
		},
	}
}

func serve(t *testing.T, system bool) (*fake, string) {
	t.Helper()
	dir := shortDir(t)
	f := &fake{changed: make(chan struct{})}
	path := filepath.Join(dir, "run", "default.sock")
	l, err := Listen(path, system)
	if err != nil {
		t.Fatal(err)
	}
	s := Serve(l, f.calls(), quiet())
	t.Cleanup(func() { s.Close() })
	return f, path
}

func client(t *testing.T, path string) *Client {
	t.Helper()
	c, err := DialPath(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func ctxFor(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestUpTellsItsProgressAndHowItEnded(t *testing.T) {
	_, path := serve(t, false)
	c := client(t, path)
	var lines []string
	need, err := c.Up(ctxFor(t), UpRequest{}, func(s string) { lines = append(lines, s) })
	if err != nil || need || strings.Join(lines, " ") != "one two" {
		t.Errorf("up: %v %v %q", need, err, lines)
	}
	if need, err := c.Up(ctxFor(t), UpRequest{URL: "login"}, nil); err != nil || !need {
		t.Errorf("up without a person: %v %v", need, err)
	}
	if _, err := c.Up(ctxFor(t), UpRequest{URL: "bad"}, nil); err == nil || err.Error() != "a sentence" {
		t.Errorf("a failing up: %v", err)
	}
}

func TestEventsFollowChangesUntilTheServerCloses(t *testing.T) {
	_, path := serve(t, false)
	c := client(t, path)
	seen := make(chan int, 8)
	ctx, cancel := context.WithCancel(ctxFor(t))
	done := make(chan error, 1)
	go func() { done <- c.Events(ctx, func(s *Status) error { seen <- s.Audit.Pending; return nil }) }()
	if n := <-seen; n != 0 {
		t.Fatalf("first status %d", n)
	}
	if _, err := client(t, path).Up(ctxFor(t), UpRequest{}, nil); err != nil {
		t.Fatal(err)
	}
	if n := <-seen; n != 1 {
		t.Fatalf("status after a change %d", n)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("events ended with %v", err)
	}
}

func TestConnectCarriesBytesAndEndsOfInput(t *testing.T) {
	_, path := serve(t, false)
	c := client(t, path)
	conn, err := c.Connect(ctxFor(t), "echo", 22)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "SSH-2.0-x\r\n"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 11)
	if _, err := io.ReadFull(conn, b); err != nil || string(b) != "SSH-2.0-x\r\n" {
		t.Fatalf("read %q, %v", b, err)
	}
	var refused *api.Error
	if _, err := c.Connect(ctxFor(t), "nowhere", 22); !errors.As(err, &refused) || refused.Status != http.StatusNotFound {
		t.Errorf("an unknown machine: %v", err)
	}
	if _, err := c.Connect(ctxFor(t), "echo", 0); !errors.As(err, &refused) || refused.Status != http.StatusBadRequest {
		t.Errorf("port 0: %v", err)
	}
}

func TestServerCloseEndsOpenConnections(t *testing.T) {
	f := &fake{changed: make(chan struct{})}
	path := filepath.Join(shortDir(t), "run", "s")
	l, err := Listen(path, false)
	if err != nil {
		t.Fatal(err)
	}
	s := Serve(l, f.calls(), quiet())
	if s.bodyTime > 10*time.Second {
		t.Errorf("a body may take %s", s.bodyTime)
	}
	conn, err := client(t, path).Connect(ctxFor(t), "echo", 22)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection ended with %v", err)
	}
	select {
	case <-closed:
	case <-time.After(time.Minute):
		t.Fatal("Close hangs")
	}
	if _, err := DialPath(path); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after Close: %v, want ErrNotRunning", err)
	}
}

func TestRefusalsCarryTheReasonAndNoDetail(t *testing.T) {
	_, path := serve(t, false)
	_, err := client(t, path).Explain(ctxFor(t), api.ExplainRequest{})
	var e *api.Error
	if !errors.As(err, &e) || e.Code != string(reason.NoRule) || strings.Contains(e.Message, "secret") {
		t.Errorf("%v", err)
	}
}

// A caller who begins to send a body and goes no further holds neither memory nor a connection for long; one who has
// sent it may wait for the answer.
func TestBodyThatDoesNotComeIsNotWaitedFor(t *testing.T) {
	const bodyTime = 300 * time.Millisecond
	calls := (&fake{changed: make(chan struct{})}).calls()
	calls.Ask = func(ctx context.Context, _ Who, _ AskRequest) error {
		select {
		case <-time.After(2 * bodyTime):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	path := filepath.Join(shortDir(t), "s")
	l, err := Listen(path, false)
	if err != nil {
		t.Fatal(err)
	}
	s := serveWithin(bodyTime, l, calls, quiet())
	t.Cleanup(func() { s.Close() })
	var wg sync.WaitGroup
	defer wg.Wait()
	for what, begun := range map[string]string{
		"a body that stops":         "POST " + RouteAsk + " HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"to\":\"",
		"chunks that stop":          "POST " + RouteAsk + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
		"a body that nobody wanted": "GET " + RouteStatus + " HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n",
	} {
		wg.Go(func() {
			conn, err := net.Dial("unix", path)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, begun); err != nil {
				t.Error(err)
			}
			conn.SetReadDeadline(time.Now().Add(time.Minute))
			if b, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: the service waits for the rest; so far it said %q", what, b)
			}
		})
	}
	if err := client(t, path).Ask(ctxFor(t), AskRequest{}); err != nil {
		t.Errorf("a call that takes its time: %v", err)
	}
}

func FuzzBodies(f *testing.F) {
	f.Add(RouteUp, `{"url":"https://x","connect":["a"]}`)
	f.Add(RouteLogin, `{"key":"AAAA"`)
	f.Add(RouteEnroll, `[]`)
	f.Add("/v1/sessions/%2e%2e/end", "{}")
	f.Add(RouteConnect+"?port=99999&host=%00", "")
	fk := &fake{changed: make(chan struct{})}
	path := filepath.Join(f.TempDir(), "s")
	l, err := Listen(path, false)
	if err != nil {
		f.Fatal(err)
	}
	s := Serve(l, fk.calls(), quiet())
	f.Cleanup(func() { s.Close() })
	f.Fuzz(func(t *testing.T, route, body string) {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		req, err := http.NewRequest(http.MethodPost, "http://lanyard"+route, strings.NewReader(body))
		if err != nil {
			t.Skip()
		}
		req.Close = true
		if req.Write(conn) != nil {
			return
		}
		if strings.HasPrefix(route, RouteConnect) {
			return
		}
		b, _ := io.ReadAll(conn)
		if len(b) > 0 && !strings.HasPrefix(string(b), "HTTP/1.1 ") {
			t.Fatalf("answer %q", b)
		}
		// The server lives.
		var st Status
		c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }}}
		res, err := c.Get("http://lanyard" + RouteStatus)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if err := json.NewDecoder(res.Body).Decode(&st); err != nil {
			t.Fatal(err)
		}
	})
}

// shortDir is a temporary folder whose path leaves room for a socket's.
func shortDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "ipc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestQuestionsAndAnswersCarryWhoTheKernelSays(t *testing.T) {
	_, path := serve(t, false)
	c := client(t, path)
	me := ""
	if err := c.Asks(ctxFor(t), func(a Ask) error { me = a.To; return nil }); err != nil || me == "" {
		t.Fatalf("%q %v", me, err)
	}
	if err := c.Ask(ctxFor(t), AskRequest{To: "web-1"}); err == nil || err.Error() != me+" asks for web-1" {
		t.Error(err)
	}
	if err := c.Answer(ctxFor(t), Answer{ID: "1", How: ReplyBegun}); err == nil || err.Error() != me+" says begun to 1" {
		t.Error(err)
	}
}
