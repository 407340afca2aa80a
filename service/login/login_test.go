package login

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
	"lanyard/service/ipc"
	"lanyard/sshd/token"
)

func TestLoginLeavesACertificateThatSSHTakes(t *testing.T) {
	s := newStub(t)
	c := s.config(t)
	r, err := c.Login(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Me == nil || r.Me.Email != "ann@example.com" || s.seen != 1 {
		t.Errorf("me %+v, seen %d", r.Me, s.seen)
	}
	key, cert, fresh := c.Paths.Identity(peerID)
	for _, f := range []string{key, cert, fresh} {
		if m := mode(t, f); m != 0o600 {
			t.Errorf("%s has mode %v", f, m)
		}
	}
	if m := mode(t, c.Paths.SSHDir); m.Perm() != 0o700 {
		t.Errorf("folder mode %v", m)
	}
	if out, err := exec.Command("ssh-keygen", "-L", "-f", cert).CombinedOutput(); err != nil || !bytes.Contains(out, []byte(token.ExtIDToken)) {
		t.Errorf("ssh-keygen -L: %v %s", err, out)
	}
	if out, err := exec.Command("ssh-keygen", "-y", "-f", key).CombinedOutput(); err != nil {
		t.Errorf("ssh-keygen -y: %v %s", err, out)
	}
	if !Fresh(c.Paths, peerID, 0, time.Now()) || Fresh(c.Paths, peerID, 0, time.Now().Add(31*time.Minute)) {
		t.Error("freshness is not half of the token's hour")
	}
	if Fresh(c.Paths, peerID, time.Minute, time.Now().Add(31*time.Second)) {
		t.Error("a machine that wants younger tokens does not get them")
	}
	l, err := Load(c.Paths, peerID)
	if err != nil || !bytes.Equal(l.Key, r.Login.Key) || l.Bound != r.Login.Bound {
		t.Errorf("Load: %v", err)
	}
	filepath.WalkDir(c.Paths.State, func(name string, d os.DirEntry, _ error) error {
		if b, err := os.ReadFile(name); err == nil && bytes.Contains(b, []byte(s.refresh)) {
			t.Errorf("%s shows the refresh token", name)
		}
		return nil
	})
}

func TestEveryLoginHasAKeyOfItsOwn(t *testing.T) {
	s := newStub(t)
	c := s.config(t)
	one, err := c.Login(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	two, err := c.Login(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(one.Login.Key, two.Login.Key) || bytes.Equal(one.Login.Salt, two.Login.Salt) {
		t.Error("key or salt came twice")
	}
}

func TestHostileAnswersDoNotSignAnyoneIn(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(url.Values)
		status int
		end    string // empty: the login goes on waiting
	}{
		"wrong state":  {func(q url.Values) { q.Set("state", "x") }, 400, ""},
		"no state":     {func(q url.Values) { q.Del("state") }, 400, ""},
		"two states":   {func(q url.Values) { q.Add("state", "x") }, 400, ""},
		"wrong issuer": {func(q url.Values) { q.Set("iss", "https://evil.example") }, 400, "another identity provider"},
		"empty issuer": {func(q url.Values) { q.Set("iss", "") }, 400, "another identity provider"},
		"denied":       {func(q url.Values) { q.Set("error", "access_denied"); q.Del("code") }, 400, "refused or cancelled"},
		"blocked": {func(q url.Values) {
			q.Set("error", "access_denied")
			q.Set(api.ParamReason, "blocked")
		}, 403, "Your access was blocked"},
		"denied, by a word of its own": {func(q url.Values) {
			q.Set("error", "access_denied")
			q.Set(api.ParamReason, "<script>")
		}, 400, "refused or cancelled"},
		"a code, and a reason": {func(q url.Values) { q.Set(api.ParamReason, "blocked"); q.Set("code", "stolen") }, 400, "invalid_grant"},
		"foreign error":        {func(q url.Values) { q.Set("error", "<script>\x1b[2J") }, 400, `"<script>\x1b[2J"`},
		"wrong code":           {func(q url.Values) { q.Set("code", "stolen") }, 400, "invalid_grant"},
		"no code":              {func(q url.Values) { q.Del("code") }, 400, "no code"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStub(t)
			c := s.config(t)
			var status int
			var body string
			good := make(chan struct{})
			c.Open = func(string) error {
				to, q := s.answer()
				go func() {
					defer close(good)
					bad, _ := url.ParseQuery(q.Encode())
					tc.change(bad)
					status, body = get(to + "?" + bad.Encode())
					if tc.end == "" {
						get(to + "?" + q.Encode())
					}
				}()
				return nil
			}
			_, err := c.Login(t.Context())
			<-good
			if status != tc.status || strings.Contains(body, "<script>") || strings.Contains(body, "signed in;") {
				t.Errorf("page %d %s", status, body)
			}
			if tc.end == "" {
				if err != nil {
					t.Errorf("a stranger's answer ended the login: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.end) || strings.ContainsRune(err.Error(), 0x1b) {
				t.Errorf("error %v", err)
			}
			if _, err := Load(c.Paths, peerID); !errors.Is(err, ErrNotSignedIn) {
				t.Errorf("something was kept: %v", err)
			}
		})
	}
}

func TestCallbackServesOneAnswerAndOneName(t *testing.T) {
	cb, err := listen("st", "https://idp.example")
	if err != nil {
		t.Fatal(err)
	}
	defer cb.close()
	if !strings.HasPrefix(cb.url(), "http://127.0.0.1:") {
		t.Errorf("listens on %s", cb.url())
	}
	req, _ := http.NewRequest("GET", cb.url()+"?state=st&code=c", nil)
	req.Host = "evil.example"
	if res, err := http.DefaultClient.Do(req); err != nil || res.StatusCode != 404 {
		t.Errorf("another host name: %v %v", res, err)
	}
	if code, _ := get("http://" + cb.host + "/other?state=st&code=c"); code != 404 {
		t.Errorf("another path: %d", code)
	}
	first := make(chan int)
	go func() { code, _ := get(cb.url() + "?state=st&code=c"); first <- code }()
	a := <-cb.got
	if code, _ := get(cb.url() + "?state=st&code=d"); code != http.StatusGone {
		t.Errorf("a second answer: %d", code)
	}
	a.end <- nil
	if code := <-first; code != 200 || a.code != "c" {
		t.Errorf("first answer: %d %+v", code, a)
	}
}

func TestTokenForAnotherKeyIsNotKept(t *testing.T) {
	s := newStub(t)
	c := s.config(t)
	c.Open = func(string) error {
		to, q := s.answer()
		s.mu.Lock()
		s.start.Salt = make([]byte, 32) // a provider, or somebody in between, that binds another key
		s.mu.Unlock()
		go get(to + "?" + q.Encode())
		return nil
	}
	if _, err := c.Login(t.Context()); err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("error %v", err)
	}
}

func TestLoginEndsWithItsContext(t *testing.T) {
	s := newStub(t)
	c := s.config(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	c.Open = func(string) error { cancel(errors.New("ctrl-C")); return nil }
	if _, err := c.Login(ctx); err == nil || err.Error() != "ctrl-C" {
		t.Errorf("error %v", err)
	}
}

func TestLinksAndForeignFoldersAreRefused(t *testing.T) {
	s := newStub(t)
	c := s.config(t)
	victim := filepath.Join(t.TempDir(), "victim")
	os.WriteFile(victim, []byte("keep"), 0o600)
	os.MkdirAll(c.Paths.SSHDir, 0o700)
	key, cert, fresh := c.Paths.Identity(peerID)
	for _, name := range []string{key, cert, fresh} {
		if err := os.Symlink(victim, name); err != nil {
			t.Skip("no symbolic links here: ", err)
		}
		if _, err := c.Login(t.Context()); err == nil {
			t.Errorf("%s: wrote through a link", name)
		}
		os.Remove(name)
	}
	if b, _ := os.ReadFile(victim); string(b) != "keep" {
		t.Errorf("victim: %q", b)
	}
	os.Chmod(c.Paths.SSHDir, 0o777)
	if _, err := c.Login(t.Context()); err == nil || !strings.Contains(err.Error(), "other users") {
		t.Errorf("a folder open to all: %v", err)
	}
}

func TestRefreshKeepsTheKeyAndRenewsTheCertificate(t *testing.T) {
	s := newStub(t)
	c := s.config(t)
	r, err := c.Login(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	old := s.refresh
	c.Now = func() time.Time { return time.Now().Add(40 * time.Minute) }
	if err := c.Ensure(t.Context(), peerID, 0, false); err != nil {
		t.Fatal(err)
	}
	l, err := Load(c.Paths, peerID)
	if err != nil || l.Fresh == "" || l.Bound != r.Login.Bound || !bytes.Equal(l.Key, r.Login.Key) {
		t.Fatalf("after the refresh: %+v %v", l, err)
	}
	if s.refresh == old || s.seen != 2 || s.refreshes != 1 {
		t.Errorf("rotated %v, seen %d, refreshes %d", s.refresh != old, s.seen, s.refreshes)
	}
	if rec, err := LoadRecord(c.Store, peerID); err != nil || rec.RefreshToken != s.refresh {
		t.Errorf("the rotated refresh token was not kept: %v", err)
	}
	// Half of a younger limit: again.
	if err := Stale(c.Paths, peerID); err != nil {
		t.Fatal(err)
	}
	if err := c.Ensure(t.Context(), peerID, 0, false); err != nil || s.refreshes != 2 {
		t.Errorf("after a server's refusal: %v, refreshes %d", err, s.refreshes)
	}
}

// A token that the management server does not take is asked for anew: once, and no more.
func TestRefusedTokenIsRefreshedOnceMore(t *testing.T) {
	for name, nonce := range map[string]func(string) string{"bound": nil, "to be traded": func(string) string { return "" }} {
		for _, once := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, once %v", name, once), func(t *testing.T) {
				s := newStub(t)
				c := s.config(t)
				if _, err := c.Login(t.Context()); err != nil {
					t.Fatal(err)
				}
				s.mu.Lock()
				s.nonce, s.refuse = nonce, &api.Error{Status: http.StatusUnauthorized, Code: string(reason.Signature), Message: "No."}
				if once {
					s.refusals = 1
				}
				s.mu.Unlock()
				before, err := Load(c.Paths, peerID)
				if err != nil {
					t.Fatal(err)
				}
				c.Now = func() time.Time { return time.Now().Add(40 * time.Minute) }
				err = c.Refresh(t.Context(), peerID, 0)
				s.mu.Lock()
				defer s.mu.Unlock()
				if s.refreshes != 2 {
					t.Errorf("%d refreshes, want 2", s.refreshes)
				}
				after, loadErr := Load(c.Paths, peerID)
				if kept := loadErr == nil && after.Fresh == before.Fresh; kept != (!once || nonce != nil) {
					t.Errorf("the token that was there: kept %v, %v", kept, loadErr)
				}
				var refused *api.Error
				switch {
				case !once:
					if !errors.As(err, &refused) || refused.Code != string(reason.Signature) {
						t.Errorf("refused each time: %v", err)
					}
				case nonce != nil: // the stub trades nothing
					if !errors.Is(err, ErrLoginNeeded) {
						t.Errorf("the second token was not offered: %v", err)
					}
				case err != nil || !Fresh(c.Paths, peerID, 0, c.now()):
					t.Errorf("the second token was not taken: %v", err)
				}
			})
		}
	}
}

func TestRefreshedTokensOfAnotherKeyOrPersonAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(*stub){
		"other nonce":   func(s *stub) { s.nonce = func(string) string { return "other" } },
		"no nonce":      func(s *stub) { s.nonce = func(string) string { return "" } },
		"other subject": func(s *stub) { s.subject = "eve" },
		"grant gone":    func(s *stub) { s.grantErr = "invalid_grant" },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStub(t)
			c := s.config(t)
			if _, err := c.Login(t.Context()); err != nil {
				t.Fatal(err)
			}
			spoil(s)
			c.Now = func() time.Time { return time.Now().Add(40 * time.Minute) }
			if err := c.Refresh(t.Context(), peerID, 0); !errors.Is(err, ErrLoginNeeded) {
				t.Errorf("error %v", err)
			}
			if l, err := Load(c.Paths, peerID); err != nil || l.Fresh != "" {
				t.Errorf("the token was kept: %v", err)
			}
			var code *reason.Error
			if err := c.Ensure(t.Context(), peerID, 0, false); !errors.As(err, &code) || code.Code != reason.LoginExpired {
				t.Errorf("Ensure: %v", err)
			}
			if s.logins != 1 {
				t.Error("signed in without being allowed to")
			}
		})
	}
}

func TestSilentServerHoldsSSHUpOnceAMinute(t *testing.T) {
	s := newStub(t)
	c := s.config(t)
	if _, err := c.Login(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.down = true
	s.mu.Unlock()
	now := time.Now().Add(40 * time.Minute)
	c.Now = func() time.Time { return now }
	if err := c.Ensure(t.Context(), peerID, 0, true); err != nil {
		t.Fatalf("a good login was held back: %v", err)
	}
	if !Fresh(c.Paths, peerID, 0, now.Add(50*time.Second)) || Fresh(c.Paths, peerID, 0, now.Add(61*time.Second)) {
		t.Error("the next attempt is not a minute away")
	}
}

// A management server that has trouble of its own refuses no token: the new one is kept, and told of in a minute.
func TestTokenThatNobodyHeardOfIsKeptAndToldLater(t *testing.T) {
	s := newStub(t)
	c := s.config(t)
	if _, err := c.Login(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.refuse = &api.Error{Status: http.StatusServiceUnavailable, Message: "Later."}
	s.mu.Unlock()
	var said []string
	c.Say = func(line string) { said = append(said, line) }
	now := time.Now().Add(40 * time.Minute)
	c.Now = func() time.Time { return now }
	if err := c.Ensure(t.Context(), peerID, 0, true); err != nil {
		t.Fatal(err)
	}
	if l, err := Load(c.Paths, peerID); err != nil || l.Fresh == "" || s.refreshes != 1 {
		t.Errorf("after %d refreshes it is not kept: %v", s.refreshes, err)
	}
	if !Fresh(c.Paths, peerID, 0, now.Add(50*time.Second)) || Fresh(c.Paths, peerID, 0, now.Add(61*time.Second)) {
		t.Error("the next attempt is not a minute away")
	}
	if want := "Lanyard: the management server could not be told of your sign-in (Later.); it is tried again."; len(said) != 1 || said[0] != want {
		t.Errorf("it says %q, want %q", said, want)
	}
}

func TestBlockedPersonLosesTheLoginHere(t *testing.T) {
	s := newStub(t)
	c := s.config(t)
	if _, err := c.Login(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.refuse = &api.Error{Status: 403, Code: string(reason.Blocked), Message: reason.Blocked.Sentence()}
	c.Now = func() time.Time { return time.Now().Add(40 * time.Minute) }
	err := c.Ensure(t.Context(), peerID, 0, true)
	if err == nil || !strings.Contains(err.Error(), "blocked") || s.logins != 1 {
		t.Errorf("error %v, logins %d", err, s.logins)
	}
	if _, err := Load(c.Paths, peerID); !errors.Is(err, ErrNotSignedIn) {
		t.Error("the files are still there")
	}
}

// A provider that takes the refresh token no longer does not say why: the management server does, and the sign-in is gone.
func TestSignInThatSomebodyEndedIsToldAsThat(t *testing.T) {
	for _, code := range []reason.Code{reason.Revoked, reason.Blocked} {
		s := newStub(t)
		c := s.config(t)
		if _, err := c.Login(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.grantErr = "invalid_grant"
		s.refuse = &api.Error{Status: 401, Code: string(code), Message: code.Sentence()}
		c.Now = func() time.Time { return time.Now().Add(40 * time.Minute) }
		err := c.Ensure(t.Context(), peerID, 0, false)
		var why *reason.Error
		var refused *api.Error
		if !(errors.As(err, &why) && why.Code == code) && !(errors.As(err, &refused) && refused.Code == string(code)) {
			t.Errorf("%s: %v", code, err)
		}
		nothingLeft(t, c)
		// Another process that waited for this one is told the same.
		if code == reason.Revoked {
			o := lastTurn(c.Paths, "refresh")
			err := o.failure()
			if !errors.Is(err, ErrLoginNeeded) || c.missing(peerID, err) != code || err.Error() != ErrLoginNeeded.Error()+" ("+code.Sentence()+")" {
				t.Errorf("told to others: %v", err)
			}
		}
	}
}

// A clock five minutes off makes every proof too old or too new: the person is told, and keeps the sign-in.
func TestWrongClockIsSaidAndEndsNothing(t *testing.T) {
	s := newStub(t)
	c := s.config(t)
	if _, err := c.Login(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.refuse = &api.Error{Status: 401, Code: string(reason.ClockSkew), Message: reason.ClockSkew.Sentence()}
	c.Now = func() time.Time { return time.Now().Add(40 * time.Minute) }
	err := c.Ensure(t.Context(), peerID, 0, true)
	if err == nil || !strings.Contains(err.Error(), "clocks") || s.logins != 1 {
		t.Errorf("error %v, logins %d", err, s.logins)
	}
	if _, err := Load(c.Paths, peerID); err != nil {
		t.Errorf("the sign-in is gone: %v", err)
	}
}

func TestWithoutALoginOneIsMadeOnlyWhereAllowed(t *testing.T) {
	s := newStub(t)
	c := s.config(t)
	var code *reason.Error
	if err := c.Ensure(t.Context(), peerID, 0, false); !errors.As(err, &code) || code.Code != reason.NotLoggedIn {
		t.Errorf("error %v", err)
	}
	if err := c.Ensure(t.Context(), peerID, 0, true); err != nil || s.logins != 1 {
		t.Errorf("error %v, logins %d", err, s.logins)
	}
	// The login's day is over.
	c.Now = func() time.Time { return time.Now().Add(25 * time.Hour) }
	if err := c.Ensure(t.Context(), peerID, 0, false); !errors.As(err, &code) || code.Code != reason.LoginExpired {
		t.Errorf("error %v", err)
	}
	if s.refreshes != 0 {
		t.Error("an ended login was refreshed")
	}
}

func TestLogoutLeavesNothing(t *testing.T) {
	for _, down := range []bool{false, true} {
		s := newStub(t)
		c := s.config(t)
		if _, err := c.Login(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		s.down = down
		s.mu.Unlock()
		effect, err := c.Logout(t.Context(), peerID, s.srv.URL, false)
		if down != (err != nil) || !down && (effect == nil || s.loggedOut != 1) {
			t.Errorf("down %v: %+v %v, revoked %d", down, effect, err, s.loggedOut)
		}
		nothingLeft(t, c)
	}
}

// nothingLeft looks for files of a sign-in that has ended.
func nothingLeft(t *testing.T, c Config) {
	t.Helper()
	left, _ := filepath.Glob(filepath.Join(c.Paths.SSHDir, "lanyard-*"))
	secrets, _ := filepath.Glob(filepath.Join(c.Paths.Login, "secret-*"))
	if len(left)+len(secrets) != 0 {
		t.Errorf("left behind: %v %v", left, secrets)
	}
}

// A refresh that is on its way when the person logs out leaves nothing behind either.
func TestLogoutDuringARefreshLeavesNothing(t *testing.T) {
	s := newStub(t)
	c := s.config(t)
	if _, err := c.Login(t.Context()); err != nil {
		t.Fatal(err)
	}
	begun := make(chan struct{}, 1)
	s.mu.Lock()
	s.slow, s.begun = 300*time.Millisecond, begun
	s.mu.Unlock()
	refreshed := make(chan error, 1)
	go func() { refreshed <- c.Refresh(t.Context(), peerID, time.Nanosecond) }() // every token is too old
	select {
	case <-begun:
	case err := <-refreshed:
		t.Fatal("the refresh ended before the provider was asked:", err)
	}
	if _, err := c.Logout(t.Context(), peerID, s.srv.URL, false); err != nil {
		t.Error(err)
	}
	if err := <-refreshed; err != nil {
		t.Error(err)
	}
	nothingLeft(t, c)
}

// TestHelperProcess is what the tests below run many of.
func TestHelperProcess(t *testing.T) {
	server := os.Getenv("LOGIN_TEST_SERVER")
	if server == "" {
		return // not a test of its own
	}
	s := &stub{t: t}
	c := s.configHere()
	ahead, _ := time.ParseDuration(os.Getenv("LOGIN_TEST_AHEAD"))
	c.Now = func() time.Time { return time.Now().Add(ahead) }
	if err := c.Ensure(t.Context(), peerID, 0, false); err != nil {
		t.Fatal(err)
	}
}

func TestTenProcessesRefreshOnce(t *testing.T) {
	s := newStub(t)
	c := s.config(t)
	if _, err := c.Login(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.slow = 300 * time.Millisecond
	s.mu.Unlock()
	var wg sync.WaitGroup
	for range 10 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			cmd := exec.Command(os.Args[0], "-test.run=^TestHelperProcess$", "-test.v")
			cmd.Env = append(os.Environ(), "LOGIN_TEST_SERVER="+s.srv.URL, "LOGIN_TEST_AHEAD=40m")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		}()
	}
	wg.Wait()
	if s.refreshes != 1 {
		t.Errorf("%d refreshes", s.refreshes)
	}
}

func TestTenLoginsOpenOneTab(t *testing.T) {
	s := newStub(t)
	c := s.config(t)
	var mu sync.Mutex
	tabs, waiting := 0, 0
	go10 := make(chan struct{})
	c.Say = func(line string) {
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(line, "waiting for it") {
			if waiting++; waiting == 9 {
				close(go10)
			}
		}
	}
	c.Open = func(string) error {
		mu.Lock()
		tabs++
		mu.Unlock()
		to, q := s.answer()
		go func() { <-go10; get(to + "?" + q.Encode()) }()
		return nil
	}
	shared := make(chan bool, 10)
	for range 10 {
		go func() {
			r, err := c.Login(t.Context())
			if err != nil {
				t.Error(err)
			}
			shared <- err == nil && r.Shared
		}()
	}
	n := 0
	for range 10 {
		if <-shared {
			n++
		}
	}
	if tabs != 1 || n != 9 {
		t.Errorf("%d tabs, %d shared", tabs, n)
	}
}

func TestWaitersShareAFailureToo(t *testing.T) {
	for name, c := range map[string]struct{ reason, text, code string }{
		"cancelled": {"", "refused or cancelled", ""},
		"blocked":   {"blocked", "Your access was blocked; ask your administrator.", "blocked"},
	} {
		t.Run(name, func(t *testing.T) { waitersShare(t, c.reason, c.text, c.code) })
	}
}

func waitersShare(t *testing.T, why, text, code string) {
	s := newStub(t)
	c := s.config(t)
	waits := make(chan struct{}, 1)
	tabs := 0
	c.Say = func(line string) {
		if strings.Contains(line, "waiting for it") {
			waits <- struct{}{}
		}
	}
	c.Open = func(string) error {
		tabs++
		to, q := s.answer()
		q.Set("error", "access_denied")
		q.Set(api.ParamReason, why)
		go func() { <-waits; get(to + "?" + q.Encode()) }()
		return nil
	}
	errs := make(chan error, 2)
	for range 2 {
		go func() { _, err := c.Login(t.Context()); errs <- err }()
	}
	for range 2 {
		err := <-errs
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("error %v", err)
		}
		if refused := (*api.Error)(nil); errors.As(err, &refused) != (code != "") || code != "" && refused.Code != code {
			t.Errorf("error %#v, want the code %q", err, code)
		}
	}
	if err := c.justFailed(); err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("a moment later: %v", err)
	}
	if tabs != 1 {
		t.Errorf("%d tabs", tabs)
	}
}

// What a person reads where no page opens, and where nobody came.
func TestSignInWithoutABrowserSaysWhatElseThereIs(t *testing.T) {
	for enrolled, want := range map[bool]struct {
		device bool
		again  string
	}{true: {true, "run 'lanyard login' to"}, false: {false, "run 'lanyard up' to"}} {
		var said strings.Builder
		m := &ipc.Machine{Name: "laptop", Enrolled: enrolled}
		a := attempt{machine: m, Config: Config{
			Say:  func(line string) { said.WriteString(line + "\n") },
			Open: func(string) error { return errors.New("no browser") },
		}}
		a.show(&api.LoginStarted{AuthURL: "https://id.example.com/x", ShortCode: "ABCD-EFGH"})
		if text := said.String(); !strings.Contains(text, "\n  https://id.example.com/x\n") || strings.Contains(text, "login --device") != want.device {
			t.Errorf("part of the network: %v, it says:\n%s", enrolled, text)
		}
		if err := nobodyCame(m); !strings.Contains(err.Error(), want.again) {
			t.Errorf("part of the network: %v, it ends with %q", enrolled, err)
		}
	}
}
