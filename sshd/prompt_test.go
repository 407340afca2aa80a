//go:build linux

package sshd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/reason"
	"lanyard/sshd/token"
)

// desk is a management server as far as a prompt sees it.
type desk struct {
	l *lab
	// answer gives the token, or an error; nil: ann signs in at once.
	answer func(context.Context, SignInRequest) (string, error)
	refuse error // at the beginning

	mu    sync.Mutex
	asked []SignInRequest
	ended int
}

// prompting lets ann and bob sign in at a prompt, from ann's machine.
func prompting(l *lab, change func(*State)) *desk {
	l.t.Helper()
	d := &desk{l: l}
	l.desk.Store(d)
	l.setMap(func(s *State) {
		s.Map.Peers[0].Owner = person("ann")
		s.Map.Issuers[0].SessionClientID = "lanyard-session"
		s.Map.Rules[0].Prompt = []string{"own"}
		if change != nil {
			change(s)
		}
	})
	return d
}

func (d *desk) signIn(_ context.Context, q SignInRequest) (*SignIn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refuse != nil {
		return nil, d.refuse
	}
	d.asked = append(d.asked, q)
	return &SignIn{
		URL: "https://mgmt.example/device", Code: "BCDF-GHJK", Life: 5 * time.Minute,
		Wait: func(ctx context.Context) (string, error) {
			if d.answer != nil {
				return d.answer(ctx, q)
			}
			return d.l.sessionToken("ann", q.Session, "lanyard-session"), nil
		},
		End: func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.ended++
		},
	}, nil
}

func (d *desk) counts() (asked, ended int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.asked), d.ended
}

func (l *lab) sessionToken(sub string, s token.Session, aud string) string {
	now := l.now()
	tok := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"iss": issuerURL, "sub": sub, "aud": aud, "nonce": s.Nonce(), "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"email": sub + "@example.com", "email_verified": true,
	})
	tok.Header["kid"] = "k1"
	raw, err := tok.SignedString(l.issuer)
	if err != nil {
		l.t.Error(err)
	}
	return raw
}

// client is one of the programs without our drop-in.
type client struct {
	shown  string   // instruction and questions
	told   []string // why not
	banner []string
	enter  chan struct{}

	pressed atomic.Int64
}

func (p *client) dial(l *lab, more ...ssh.AuthMethod) (*ssh.Client, error) {
	cfg := &ssh.ClientConfig{
		User: l.account.Name, HostKeyCallback: ssh.FixedHostKey(l.host.PublicKey()), Timeout: waitTime,
		BannerCallback: func(m string) error { p.banner = append(p.banner, m); return nil },
		Auth: append(more, ssh.KeyboardInteractive(func(name, instruction string, questions []string, echos []bool) ([]string, error) {
			if len(questions) == 0 {
				p.told = append(p.told, instruction)
				return nil, nil
			}
			p.shown = name + "\n" + instruction + strings.Join(questions, "")
			if p.enter != nil {
				<-p.enter
			}
			return make([]string, len(questions)), nil
		})),
	}
	return ssh.Dial("tcp", l.addr.String(), cfg)
}

func TestPersonSignsInAtThePromptForOneSession(t *testing.T) {
	l := newLab(t)
	d := prompting(l, nil)
	p := &client{}
	c, err := p.dial(l)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, want := range []string{"https://mgmt.example/device", "BCDF-GHJK", "web-1", "laptop", l.account.Name, "Enter"} {
		if !strings.Contains(p.shown, want) {
			t.Errorf("the prompt lacks %q: %s", want, p.shown)
		}
	}
	if q := d.asked[0]; string(q.ID) != string(c.SessionID()) || string(q.HostKey) != string(l.host.PublicKey().Marshal()) || q.LocalUser != l.account.Name || q.Server != "pserver" || q.Source != "pclient" || len(q.Salt) != 32 {
		t.Errorf("asked for %+v", q)
	}
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := s.Output("echo in for $LANYARD_USER"); err != nil || string(out) != "in for ann@example.com\n" {
		t.Errorf("%q, %v", out, err)
	}
	if e := l.recorded(audit.SessionStart); len(e) != 1 || e[0].Subject != "ann" || e[0].Source != "pclient" || e[0].Rule != "rule1" {
		t.Errorf("%+v", e)
	}
	// The next session is asked for anew, with a salt of its own.
	next, err := p.dial(l)
	if err != nil {
		t.Fatal(err)
	}
	next.Close()
	if len(d.asked) != 2 || string(d.asked[0].Salt) == string(d.asked[1].Salt) {
		t.Errorf("asked %d times", len(d.asked))
	}
}

// A session that began at the prompt ends by what ends others.
func TestSessionOfThePromptEndsLikeAnyOther(t *testing.T) {
	for name, c := range map[string]struct {
		code   reason.Code
		change func(*State)
	}{
		"blocked": {reason.Blocked, func(s *State) { s.Map.Users = []api.MapUser{{UserRef: person("ann"), Blocked: true}} }},
		"all logged out": {reason.Revoked, func(s *State) {
			s.Map.Users = []api.MapUser{{UserRef: person("ann"), NotBefore: time.Now().Add(time.Minute)}}
		}},
		"prompts switched off":   {reason.PolicyGone, func(s *State) { s.Map.Rules[0].Prompt = nil }},
		"the machine given away": {reason.PolicyGone, func(s *State) { s.Map.Peers[0].Owner = person("bob") }},
		"the rule removed":       {reason.PolicyGone, func(s *State) { s.Map.Rules = nil }},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			prompting(l, nil)
			conn, err := (&client{}).dial(l)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			prompting(l, c.change)
			if ended := l.srv.Changed(); len(ended) != 1 {
				t.Fatalf("ended %q", ended)
			}
			done := make(chan error, 1)
			go func() { done <- conn.Wait() }()
			select {
			case <-done:
			case <-time.After(waitTime):
				t.Fatal("the session is still there")
			}
			eventually(t, "event", func() bool { return len(l.recorded(audit.SessionEnd)) == 1 })
			if e := l.recorded(audit.SessionEnd); e[0].Reason != c.code {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestSignInAtThePromptIsRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		code   reason.Code
		begun  bool // the person was prompted
		change func(*State)
		answer func(*lab) func(context.Context, SignInRequest) (string, error)
		refuse error
	}{
		{name: "no rule has prompts", change: func(s *State) { s.Map.Rules[0].Prompt = nil }},
		{name: "a machine that is nobody's", code: reason.OwnDevice, change: func(s *State) { s.Map.Peers[0].Owner = api.UserRef{} }},
		{name: "another machine is named", code: reason.OwnDevice, change: func(s *State) { s.Map.Rules[0].Prompt = []string{"peer:pother"} }},
		{name: "a machine of somebody else's", code: reason.OwnDevice, begun: true, change: func(s *State) { s.Map.Peers[0].Owner = person("mallory") }},
		{name: "another person confirms", code: reason.OwnDevice, begun: true, answer: func(l *lab) func(context.Context, SignInRequest) (string, error) {
			return func(_ context.Context, q SignInRequest) (string, error) {
				return l.sessionToken("bob", q.Session, "lanyard-session"), nil
			}
		}},
		{name: "a person without a rule", code: reason.NoRule, begun: true, answer: func(l *lab) func(context.Context, SignInRequest) (string, error) {
			return func(_ context.Context, q SignInRequest) (string, error) {
				return l.sessionToken("eve", q.Session, "lanyard-session"), nil
			}
		}},
		{name: "the token of another session", code: reason.KeyMismatch, begun: true, answer: func(l *lab) func(context.Context, SignInRequest) (string, error) {
			return func(_ context.Context, q SignInRequest) (string, error) {
				q.ID = append([]byte{q.ID[0] ^ 1}, q.ID[1:]...)
				return l.sessionToken("ann", q.Session, "lanyard-session"), nil
			}
		}},
		{name: "a login's token", code: reason.Audience, begun: true, answer: func(l *lab) func(context.Context, SignInRequest) (string, error) {
			return func(_ context.Context, q SignInRequest) (string, error) {
				return l.sessionToken("ann", q.Session, clientID), nil
			}
		}},
		{name: "somebody who is blocked", code: reason.Blocked, begun: true, change: func(s *State) {
			s.Map.Users = []api.MapUser{{UserRef: person("ann"), Blocked: true}}
		}},
		{name: "another account's rule", code: reason.LocalUser, begun: true, change: func(s *State) { s.Map.Rules[0].As = []string{"somebody"} }},
		{name: "nobody signs in", code: reason.SignInExpired, begun: true, answer: func(*lab) func(context.Context, SignInRequest) (string, error) {
			return func(context.Context, SignInRequest) (string, error) {
				return "", reason.Errorf(reason.SignInExpired, "gone")
			}
		}},
		{name: "the management server is away", code: reason.SignInDown, refuse: reason.Errorf(reason.SignInDown, "no route")},
		{name: "a fault", code: reason.Internal, refuse: errors.New("a fault")},
		{name: "SSH is off", change: func(s *State) { s.Enabled = false }},
		{name: "the map is too old", code: reason.MapStale, begun: true, change: func(s *State) { s.Map.IssuedAt = time.Now().Add(-25 * time.Hour) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			d := prompting(l, c.change)
			d.refuse = c.refuse
			if c.answer != nil {
				d.answer = c.answer(l)
			}
			p := &client{}
			conn, err := p.dial(l)
			if err == nil {
				conn.Close()
				t.Fatal("let in")
			}
			if (p.shown != "") != c.begun {
				t.Errorf("prompted: %q", p.shown)
			}
			if asked, ended := d.counts(); asked != ended {
				t.Errorf("%d sign-ins were begun, %d forgotten", asked, ended)
			}
			if c.code == "" { // the method is not offered at all
				if len(p.told)+len(p.banner) != 0 {
					t.Errorf("told %q %q", p.told, p.banner)
				}
				return
			}
			if len(p.told) != 1 || p.told[0] != c.code.Line()+"\n" || len(p.banner) != 0 {
				t.Errorf("told %q and by banner %q, want %q", p.told, p.banner, c.code.Line())
			}
			eventually(t, "event", func() bool { return len(l.recorded(audit.Refused)) > 0 })
			l.srv.Close()
			if e := l.recorded(audit.Refused); len(e) != 1 || e[0].Reason != c.code || e[0].Source != "pclient" || e[0].LocalUser != l.account.Name {
				t.Errorf("%+v", e)
			}
			if e := l.recorded(audit.SessionStart); len(e) != 0 {
				t.Errorf("%+v", e)
			}
		})
	}
}

// A certificate that was refused stands: nobody is asked for a code after it. Keys of other kinds are no answer at all.
func TestPromptComesAfterForeignKeysAndNotAfterARefusal(t *testing.T) {
	l := newLab(t)
	d := prompting(l, nil)
	p := &client{}
	c, err := p.dial(l, ssh.PublicKeys(l.host)) // whatever plain key
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if len(p.banner) != 0 {
		t.Errorf("told %q before the prompt", p.banner)
	}
	asked := len(d.asked)
	stale := l.certified("eve")
	p = &client{}
	if c, err := p.dial(l, ssh.PublicKeys(stale)); err == nil {
		c.Close()
		t.Error("let in")
	}
	if p.shown != "" || len(d.asked) != asked || len(p.banner) != 1 || !strings.Contains(p.banner[0], "[no-rule]") {
		t.Errorf("prompted %q, told %q", p.shown, p.banner)
	}
}

func TestHangUpAtThePromptLeavesNothing(t *testing.T) {
	for _, when := range []string{"before Enter", "after Enter"} {
		t.Run(when, func(t *testing.T) {
			l := newLab(t)
			d := prompting(l, nil)
			waiting := make(chan struct{}, 1)
			d.answer = func(ctx context.Context, _ SignInRequest) (string, error) {
				waiting <- struct{}{}
				<-ctx.Done()
				return "", ctx.Err()
			}
			before := runtime.NumGoroutine()
			p := &client{enter: make(chan struct{})}
			if when == "after Enter" {
				close(p.enter)
			}
			nc := &written{Conn: l.tcp()}
			failed := make(chan error, 1)
			go func() {
				_, _, _, err := ssh.NewClientConn(nc, "", &ssh.ClientConfig{
					User: l.account.Name, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
					Auth: []ssh.AuthMethod{ssh.KeyboardInteractive(func(_, _ string, q []string, _ []bool) ([]string, error) {
						<-p.enter
						p.pressed.Store(nc.count.Load() + 1)
						return make([]string, len(q)), nil
					})},
				})
				failed <- err
			}()
			<-waiting
			if when == "after Enter" { // and once the answer has left
				eventually(t, "answer", func() bool { return nc.after(p.pressed.Load()) })
			}
			nc.Close()
			if when == "before Enter" {
				close(p.enter)
			}
			if err := <-failed; err == nil {
				t.Error("the handshake did not fail")
			}
			eventually(t, "end of the sign-in", func() bool { _, ended := d.counts(); return ended == 1 })
			eventually(t, "end of the goroutines", func() bool { return runtime.NumGoroutine() <= before })
			if e := l.recorded(audit.Refused); len(e) != 0 {
				t.Errorf("a hang-up is a refusal: %+v", e)
			}
			eventually(t, "end of the connections", func() bool { return !l.srv.Busy() })
			l.srv.mu.Lock()
			defer l.srv.mu.Unlock()
			if l.srv.prompting != 0 || len(l.srv.prompts) != 0 || l.srv.waiting != 0 {
				t.Errorf("left over: %d prompts (%v), %d connections", l.srv.prompting, l.srv.prompts, l.srv.waiting)
			}
		})
	}
}

// What the machine's administrator says in nologin(5) is shown at the prompt, too.
func TestClosedMachineSaysSoAtThePrompt(t *testing.T) {
	l := newLab(t)
	prompting(l, nil)
	l.closed.Store(true)
	p := &client{}
	if c, err := p.dial(l); err == nil {
		c.Close()
		t.Fatal("let in")
	}
	if want := "The disks are being changed.\nBack at ]0;seven.\n" + reason.NoLogins.Line() + "\n"; !slices.Equal(p.told, []string{want}) || len(p.banner) != 0 {
		t.Errorf("told %q and by banner %q, want %q", p.told, p.banner, want)
	}
}

func TestServerClosesWhileSomebodyIsPrompted(t *testing.T) {
	l := newLab(t)
	d := prompting(l, nil)
	waiting := make(chan struct{}, 1)
	d.answer = func(ctx context.Context, _ SignInRequest) (string, error) {
		waiting <- struct{}{}
		<-ctx.Done()
		return "", ctx.Err()
	}
	failed := make(chan error, 1)
	go func() { _, err := (&client{}).dial(l); failed <- err }()
	<-waiting
	if err := l.srv.Close(); err != nil {
		t.Error(err)
	}
	if err := <-failed; err == nil {
		t.Error("let in")
	}
	if _, ended := d.counts(); ended != 1 {
		t.Errorf("%d were forgotten", ended)
	}
}

// A hundred prompts at once: a source has four, all of them sixty-four, and the others are told.
func TestPromptsAreBoundedBySourceAndInAll(t *testing.T) {
	l := newLabWith(t, func(c *Config) { c.Limits.LoginGrace = 10 * time.Minute }) // a hundred handshakes take each as long as all
	d := prompting(l, func(s *State) { s.Map.Rules[0].Prompt = []string{"own"} })
	var sources atomic.Int64
	var one atomic.Bool
	one.Store(true)
	who := func() api.Peer {
		if one.Load() {
			return api.Peer{ID: "pclient", Name: "laptop"}
		}
		return api.Peer{ID: fmt.Sprintf("p%d", sources.Add(1)), Name: "other", Owner: person("ann")}
	}
	l.peer.Store(&who)
	release := make(chan struct{})
	d.answer = func(ctx context.Context, q SignInRequest) (string, error) {
		select {
		case <-release:
			return l.sessionToken("ann", q.Session, "lanyard-session"), nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	var wg sync.WaitGroup
	var in, told atomic.Int64
	dial := func(n int) {
		for range n {
			wg.Go(func() {
				p := &client{}
				c, err := p.dial(l)
				if err == nil {
					in.Add(1)
					c.Close()
				} else if len(p.told) == 1 && strings.Contains(p.told[0], "[too-many]") {
					told.Add(1)
				}
			})
		}
	}
	dial(10)
	eventually(t, "refusals of the one source", func() bool { return told.Load() == 6 })
	eventually(t, "four prompts for one source", func() bool { asked, _ := d.counts(); return asked == 4 })
	one.Store(false)
	dial(100)
	eventually(t, "refusals in all", func() bool { return told.Load() == 6+40 })
	eventually(t, "sixty-four prompts in all", func() bool { asked, _ := d.counts(); return asked == 64 })
	close(release)
	wg.Wait()
	if asked, _ := d.counts(); in.Load() != 64 || asked != 64 {
		t.Errorf("%d were prompted, %d came in", asked, in.Load())
	}
	eventually(t, "room", func() bool { _, ended := d.counts(); return ended == 64 })
	if c, err := (&client{}).dial(l); err != nil {
		t.Errorf("afterwards: %v", err)
	} else {
		c.Close()
	}
}

// Names come from elsewhere, and a terminal obeys.
func TestPromptShowsNothingThatSteersATerminal(t *testing.T) {
	text := instruction("web\x1b]0;x\a", "lap\ntop", "deploy\u202e", &SignIn{URL: "https://m/device\r", Code: "B\x00", Life: 5 * time.Minute})
	if strings.ContainsAny(text, "\x1b\a\r\x00\u202e") || strings.Contains(text, "lap\ntop") || !strings.Contains(text, "5 minutes") {
		t.Errorf("%q", text)
	}
}

func (l *lab) tcp() net.Conn {
	l.t.Helper()
	c, err := net.Dial("tcp", l.addr.String())
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

// written counts what was written.
type written struct {
	net.Conn
	count atomic.Int64
}

func (w *written) Write(b []byte) (int, error) {
	n, err := w.Conn.Write(b)
	w.count.Add(1)
	return n, err
}

// after reports whether so many writes were made; 0: never.
func (w *written) after(n int64) bool { return n > 0 && w.count.Load() >= n }
