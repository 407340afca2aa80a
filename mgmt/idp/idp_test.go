package idp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dexidp/dex/storage"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/store"
	"lanyard/sshd/token"
)

// bench is a provider with a database, a clock and a machine.
type bench struct {
	*Provider
	t       *testing.T
	ahead   atomic.Int64
	peer    store.Peer
	changed atomic.Int64 // signing keys
}

const secret = "correct horse"

func open(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t}
	now := func() time.Time { return time.Now().Add(time.Duration(b.ahead.Load())) }
	s, err := store.Open(t.Context(), t.TempDir(), now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	settings, err := s.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.Provider, err = Open(t.Context(), Config{
		URL: "http://127.0.0.1:1", Store: s, Settings: settings, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: now,
		KeysChanged: func() { b.changed.Add(1) }, PasswordCost: 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	b.peer = store.Peer{Peer: api.Peer{ID: "plaptop", Name: "laptop", Addr4: netip.MustParseAddr("100.110.0.1"), Addr6: netip.MustParseAddr("fd00::1"), WGKey: make([]byte, 32), MachineKey: make([]byte, 32)}}
	if err := s.AddPeer(t.Context(), b.peer); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) user(email string) store.User {
	b.t.Helper()
	u, err := b.AddUser(b.t.Context(), NewUser{Email: email, Name: "Somebody", Password: secret}, &audit.Event{Type: audit.AdminChange})
	if err != nil {
		b.t.Fatal(err)
	}
	return u
}

// browser keeps cookies and speaks to the provider without a network.
type browser struct {
	b       *bench
	cookies map[string]string
}

func (b *bench) browser() *browser { return &browser{b: b, cookies: map[string]string{}} }

type page struct {
	status int
	to     string
	body   string
}

func (w *browser) ask(method, target string, form url.Values) page {
	w.b.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for k, v := range w.cookies {
		r.AddCookie(&http.Cookie{Name: k, Value: v})
	}
	rec := httptest.NewRecorder()
	w.b.ServeHTTP(rec, r)
	for _, c := range rec.Result().Cookies() {
		w.cookies[c.Name] = c.Value
		if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/dex/" {
			w.b.t.Errorf("cookie %s: %+v", c.Name, c)
		}
	}
	if h := rec.Header(); h.Get("Cache-Control") != "no-store" || h.Get("X-Frame-Options") != "DENY" || h.Get("Content-Security-Policy") == "" {
		w.b.t.Errorf("%s %s: headers %v", method, target, h)
	}
	return page{rec.Code, rec.Header().Get("Location"), rec.Body.String()}
}

var (
	csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)
	action    = regexp.MustCompile(`action="([^"]+)"`)
)

// press sends a page's form with what is added.
func (w *browser) press(p page, add url.Values) page {
	w.b.t.Helper()
	to, csrf := action.FindStringSubmatch(p.body), csrfField.FindStringSubmatch(p.body)
	if to == nil || csrf == nil {
		w.b.t.Fatalf("the page has no form: %d %s", p.status, p.body)
	}
	form := url.Values{"csrf": {csrf[1]}}
	for k, v := range add {
		form[k] = v
	}
	return w.ask("POST", to[1], form)
}

// started is a sign-in in a browser on the machine.
type started struct {
	start    api.LoginStart
	verifier string
	url      string
	nonce    string
}

func (b *bench) begin() *started {
	b.t.Helper()
	key, salt, err := token.NewKey(time.Now())
	if err != nil {
		b.t.Fatal(err)
	}
	wire, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		b.t.Fatal(err)
	}
	s := &started{verifier: strings.Repeat("v", 43), nonce: token.Nonce(salt, wire.Marshal())}
	sum := sha256.Sum256([]byte(s.verifier))
	s.start = api.LoginStart{
		Purpose: api.PurposeLogin, Account: "ann", Key: wire.Marshal(), Salt: salt, RedirectURI: "http://127.0.0.1:9/callback", State: "state-state",
		CodeChallenge: base64.RawURLEncoding.EncodeToString(sum[:]),
	}
	r, err := b.Push(b.t.Context(), s.start, &b.peer)
	if err != nil {
		b.t.Fatal(err)
	}
	s.url = strings.TrimPrefix(r.AuthURL, b.URL)
	return s
}

// password goes as far as the answer to the password.
func (w *browser) password(s *started, email, pw string) page {
	w.b.t.Helper()
	p := w.press(w.ask("GET", s.url, nil), nil)
	if p.status != http.StatusSeeOther {
		w.b.t.Fatalf("the button: %d %s", p.status, p.body)
	}
	return w.ask("POST", p.to, url.Values{"login": {email}, "password": {pw}})
}

// code signs in and returns what the loopback listener gets.
func (w *browser) code(s *started, email string) url.Values {
	w.b.t.Helper()
	p := w.password(s, email, secret)
	for p.status == http.StatusSeeOther && !strings.HasPrefix(p.to, s.start.RedirectURI) {
		p = w.ask("GET", p.to, nil)
	}
	to, err := url.Parse(p.to)
	if err != nil || p.status != http.StatusSeeOther {
		w.b.t.Fatalf("%d %s", p.status, p.body)
	}
	return to.Query()
}

type answer struct {
	ID      string `json:"id_token"`
	Refresh string `json:"refresh_token"`
	Error   string `json:"error"`
}

func (b *bench) grant(form url.Values) (a answer) {
	b.t.Helper()
	p := b.browser().ask("POST", "/dex/token", form)
	if err := json.Unmarshal([]byte(p.body), &a); err != nil {
		b.t.Fatalf("%d %s", p.status, p.body)
	}
	return a
}

func (b *bench) exchange(s *started, code string) answer {
	b.t.Helper()
	return b.grant(url.Values{
		"client_id": {ClientID}, "grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {s.start.RedirectURI}, "code_verifier": {s.verifier},
	})
}

func (b *bench) login(email string) answer {
	b.t.Helper()
	s := b.begin()
	a := b.exchange(s, b.browser().code(s, email).Get("code"))
	if a.ID == "" || a.Refresh == "" {
		b.t.Fatalf("no tokens: %+v", a)
	}
	if c, err := token.Peek(a.ID); err != nil || c.Nonce != s.nonce || c.Issuer != b.issuer || c.Email != email {
		b.t.Fatalf("the token says %+v, %v", c, err)
	}
	return a
}

func (b *bench) refresh(a answer) answer {
	b.t.Helper()
	return b.grant(url.Values{"client_id": {ClientID}, "grant_type": {"refresh_token"}, "refresh_token": {a.Refresh}})
}

func TestEachLoginHasARefreshTokenOfItsOwn(t *testing.T) {
	b := open(t)
	b.user("ann@example.org")
	first, second := b.login("ann@example.org"), b.login("ann@example.org")
	for name, l := range map[string]*answer{"first": &first, "second": &second} {
		b.ahead.Add(int64(reuse + time.Second)) // a younger one is answered with itself
		r := b.refresh(*l)
		if r.ID == "" || r.Refresh == "" || r.Refresh == l.Refresh {
			t.Fatalf("the %s login: %+v", name, r)
		}
		was, _ := token.Peek(l.ID)
		if c, err := token.Peek(r.ID); err != nil || c.Nonce != was.Nonce {
			t.Errorf("the %s login's refreshed token has the nonce %q, want %q", name, c.Nonce, was.Nonce)
		}
		old := *l
		*l = r
		// An old one answers for a moment, for a client that lost the reply, and no longer.
		b.ahead.Add(int64(reuse + time.Second))
		if r := b.refresh(old); r.ID != "" {
			t.Errorf("the %s login's used token is good again", name)
		}
	}
}

func TestRefreshEndsWithTheLoginTheBlockAndTheRevocation(t *testing.T) {
	b := open(t)
	ann, bob := b.user("ann@example.org"), b.user("bob@example.org")
	a, other, kept := b.login("ann@example.org"), b.login("ann@example.org"), b.login("bob@example.org")
	nonce := func(x answer) string {
		c, err := token.Peek(x.ID)
		if err != nil || c.Nonce == "" {
			t.Fatalf("no nonce: %v", err)
		}
		return c.Nonce
	}
	if err := b.Revoke(t.Context(), bob, nonce(a)); err != nil {
		t.Fatal(err)
	}
	if r := b.refresh(a); r.ID == "" {
		t.Error("somebody else revoked it")
	} else {
		a = r
	}
	if err := b.Revoke(t.Context(), ann, nonce(a)); err != nil {
		t.Fatal(err)
	}
	if r := b.refresh(a); r.ID != "" {
		t.Error("a revoked token is good")
	}
	if r := b.refresh(other); r.ID == "" {
		t.Error("the other login's went along")
	} else {
		other = r
	}
	ann.Blocked = true
	if err := b.Store.UpdateUser(t.Context(), ann); err != nil {
		t.Fatal(err)
	}
	if r := b.refresh(other); r.ID != "" || r.Error != "invalid_grant" {
		t.Errorf("a blocked person's: %+v", r)
	}
	if err := b.RevokeAll(t.Context(), ann); err != nil {
		t.Fatal(err)
	}
	ann.Blocked = false
	if err := b.Store.UpdateUser(t.Context(), ann); err != nil {
		t.Fatal(err)
	}
	if r := b.refresh(other); r.ID != "" {
		t.Error("it is good again after the block")
	}
	b.ahead.Add(int64(b.Settings.LoginLifetime + time.Minute))
	if r := b.refresh(kept); r.ID != "" {
		t.Error("it is good after the login's lifetime")
	}
	if err := b.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all, err := b.db.ListRefreshTokens(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("%d tokens are left, %v", len(all), err)
	}
}

func TestTokenEndpointKnowsTwoGrants(t *testing.T) {
	b := open(t)
	b.user("ann@example.org")
	s := b.begin()
	code := b.browser().code(s, "ann@example.org").Get("code")
	for name, form := range map[string]url.Values{
		"password":           {"grant_type": {"password"}, "username": {"ann@example.org"}, "password": {secret}, "scope": {"openid"}},
		"client credentials": {"grant_type": {"client_credentials"}, "scope": {"openid"}},
		"token exchange":     {"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}},
		"dex's device grant": {"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {"x"}},
		"none":               {},
		"no verifier":        {"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {s.start.RedirectURI}},
		"another client":     {"client_id": {DeviceClientID}, "grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {s.start.RedirectURI}, "code_verifier": {s.verifier}},
		"another redirect":   {"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {"http://127.0.0.1:8/callback"}, "code_verifier": {s.verifier}},
		"a forged refresh":   {"grant_type": {"refresh_token"}, "refresh_token": {"ChBhYWFhYWFhYWFhYWFhYWFhEhBiYmJiYmJiYmJiYmJiYmJi"}},
		"no refresh token":   {"grant_type": {"refresh_token"}, "refresh_token": {"%%"}},
	} {
		if form.Get("client_id") == "" {
			form.Set("client_id", ClientID)
		}
		if a := b.grant(form); a.ID != "" || a.Error == "" {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

func TestPeopleWhoDoNotExistAreNotToldApart(t *testing.T) {
	b := open(t)
	b.user("ann@example.org")
	gone := b.user("gone@example.org")
	gone.Blocked = true
	if err := b.Store.UpdateUser(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	answers := map[string]page{}
	for _, email := range []string{"ann@example.org", "gone@example.org", "nobody@example.org"} {
		p := b.browser().password(b.begin(), email, "wrong wrong")
		p.body = strings.ReplaceAll(strings.ReplaceAll(p.body, email, "EMAIL"), p.to, "")
		p.body = regexp.MustCompile(`state=\w+`).ReplaceAllString(p.body, "")
		answers[email] = p
	}
	for email, p := range answers {
		if p != answers["ann@example.org"] {
			t.Errorf("%s is answered %d %s", email, p.status, p.body)
		}
	}
	// The hashes that stand for them cost as much to check; but for the form, a blocked person has another one.
	for email, own := range map[string]bool{"nobody@example.org": false, "gone@example.org": true} {
		for typed, ctx := range map[bool]context.Context{false: t.Context(), true: context.WithValue(t.Context(), atForm{}, true)} {
			pw, err := b.db.GetPassword(ctx, email)
			if err != nil || len(pw.Hash) == 0 || pw.UserID == "" || string(pw.Hash[:7]) != string(b.decoy[:7]) {
				t.Errorf("%s: %+v, %v", email, pw, err)
			}
			if good := bcrypt.CompareHashAndPassword(pw.Hash, []byte(secret)) == nil; good != (own && typed) {
				t.Errorf("%s, at the form: %v, the password is good: %v", email, typed, good)
			}
		}
	}
}

// Whoever has the password of a blocked person is told so, and gets nothing else; the machine that waits hears of it, too.
func TestBlockedPersonIsToldAtTheForm(t *testing.T) {
	b := open(t)
	ann := b.user("ann@example.org")
	ann.Blocked = true
	if err := b.Store.UpdateUser(t.Context(), ann); err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	b.Log = slog.New(slog.NewTextHandler(&logged, nil))
	s := b.begin()
	back := b.browser().code(s, "ann@example.org")
	if l := logged.String(); strings.Count(l, "blocked") != 1 || !strings.Contains(l, "user=ann@example.org machine=laptop account=ann from=") || strings.Contains(l, secret) {
		t.Errorf("the log tells\n%s", l)
	}
	if known, err := b.Store.Known(t.Context(), "ann@example.org", "plaptop/ann"); err != nil || known {
		t.Errorf("whence nobody got in is known: %v, %v", known, err)
	}
	want := url.Values{
		"error": {"access_denied"}, "error_description": {"Your access was blocked; ask your administrator."}, "lanyard_reason": {"blocked"},
		"state": {s.start.State}, "iss": {b.issuer},
	}
	if back.Encode() != want.Encode() {
		t.Errorf("the machine hears %v", back)
	}
	codes, err := b.Store.Dex().ListAuthCodes(t.Context())
	if err != nil || len(codes) != 0 {
		t.Errorf("%d codes were made, %v", len(codes), err)
	}
	// With a wrong password nobody hears of it.
	s = b.begin()
	if p := b.browser().password(s, "ann@example.org", "wrong wrong"); p.status == http.StatusSeeOther || !strings.Contains(p.body, "is wrong") {
		t.Errorf("%d %s", p.status, p.body)
	}
	ann.Blocked = false
	if err := b.Store.UpdateUser(t.Context(), ann); err != nil {
		t.Fatal(err)
	}
	b.login("ann@example.org")
	if known, err := b.Store.Known(t.Context(), "ann@example.org", "plaptop/ann"); err != nil || !known {
		t.Errorf("whence ann signed in is known: %v, %v", known, err)
	}
}

func TestPasswordsAreCheckedAndChanged(t *testing.T) {
	b := open(t)
	ann := b.user("Ann@Example.org ")
	if ann.Email != "ann@example.org" {
		t.Errorf("kept as %q", ann.Email)
	}
	for name, n := range map[string]NewUser{
		"short": {Email: "x@example.org", Password: "1234567"}, "long": {Email: "x@example.org", Password: strings.Repeat("x", 73)},
		"no address": {Email: "x", Password: secret}, "a name too": {Email: "X <x@example.org>", Password: secret},
		"taken": {Email: "ann@example.org", Password: secret},
	} {
		var refused *api.Error
		if _, err := b.AddUser(t.Context(), n, &audit.Event{Type: audit.AdminChange}); !errors.As(err, &refused) || refused.Status/100 != 4 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := b.SetPassword(t.Context(), ann, "another horse"); err != nil {
		t.Fatal(err)
	}
	if p := b.browser().password(b.begin(), "ann@example.org", secret); p.status == http.StatusSeeOther {
		t.Error("the old password is good")
	}
	if p := b.browser().password(b.begin(), "ann@example.org", "another horse"); p.status != http.StatusSeeOther {
		t.Errorf("the new password: %d", p.status)
	}
	if err := b.SetPassword(t.Context(), store.User{Email: "elsewhere@example.org"}, secret); err == nil {
		t.Error("somebody without a password here got one")
	}
}

// failing does what it is asked, and then something goes wrong.
type failing struct {
	storage.Storage
	after func()
}

func (f *failing) CreatePassword(ctx context.Context, p storage.Password) error {
	defer f.after()
	return f.Storage.CreatePassword(ctx, p)
}

// A person whose row could not be written has no password either.
func TestUserIsMadeWholeOrNotAtAll(t *testing.T) {
	b := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	wrapped := b.db
	b.db = &failing{Storage: wrapped, after: cancel}
	_, err := b.AddUser(ctx, NewUser{Email: "ann@example.org", Password: secret}, &audit.Event{Type: audit.AdminChange})
	b.db = wrapped
	if err == nil {
		t.Fatal("a cancelled request made a person")
	}
	b.user("ann@example.org") // the address is free
}

func TestSigningKeysAreRememberedAndAnnounced(t *testing.T) {
	b := open(t)
	is, err := b.Issuer(t.Context())
	if err != nil || len(is.Keys) != 1 || is.URL != "http://127.0.0.1:1/dex" || is.DeviceClientID == "" || is.SessionClientID == "" {
		t.Fatalf("%+v, %v", is, err)
	}
	before := b.changed.Load()
	b.keysMoved()
	if b.changed.Load() != before+1 {
		t.Error("a new key is not announced")
	}
	again, err := b.Issuer(t.Context())
	if err != nil || string(again.Keys[0]) != string(is.Keys[0]) {
		t.Errorf("%v", err)
	}
	if public := b.Public(); public.Keys != nil || public.Withdrawn != nil {
		t.Error("the public description carries keys")
	}
}

func TestAccountsAndRedirectsAreReadStrictly(t *testing.T) {
	for s, good := range map[string]bool{
		"ann": true, "HOMEBOX\\ann": true, "ann b": true, "": false, "a\nb": false, "a\x1b": false, "a\u202e": false, "\xff": false, strings.Repeat("a", 257): false,
	} {
		if err := checkAccount(s); (err == nil) != good {
			t.Errorf("account %q: %v", s, err)
		}
	}
	for s, good := range map[string]bool{
		"http://127.0.0.1:1/callback": true, "http://[::1]:1/callback": true, "http://127.0.0.1:0/callback": false, "http://127.1:1/callback": false,
		"http://127.0.0.2:1/callback": false, "http://127.0.0.1:01/callback": false, "http://127.0.0.1:1/callback#x": false, "http://127.0.0.1:1/callback/": false,
		"HTTP://127.0.0.1:1/callback": false, "http://x@127.0.0.1:1/callback": false, "http://[::ffff:127.0.0.1]:1/callback": false,
	} {
		if err := checkRedirect(s); (err == nil) != good {
			t.Errorf("redirect %q: %v", s, err)
		}
	}
}

func TestCodesAreReadAsPeopleTypeThem(t *testing.T) {
	for typed, want := range map[string]string{
		"BCDF-GHJK": "BCDF-GHJK", "bcdfghjk": "BCDF-GHJK", "bcdf ghjk": "BCDF-GHJK", "\tBCDF\tGHJK": "BCDF-GHJK", "b-c-d-f-g-h-j-k": "BCDF-GHJK",
		"": "", "BCDF-GHJ": "", "BCDF-GHJKL": "", "ACDF-GHJK": "", "BCDF-GHJ1": "", "BCDF\nGHJK": "", "BCDF-GHJ\u212a": "", strings.Repeat("B", 1000): "",
	} {
		if got, ok := normalCode(typed); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", typed, got, ok)
		}
	}
	seen := map[string]bool{}
	for range 1000 {
		c := shortCode()
		if got, ok := normalCode(c); !ok || got != c {
			t.Fatalf("the code %q cannot be typed", c)
		}
		seen[c] = true
	}
	if len(seen) < 999 {
		t.Errorf("%d different codes of 1000", len(seen))
	}
}

func FuzzTypedCode(f *testing.F) {
	for _, s := range []string{"BCDF-GHJK", "bcdf ghjk", "", "BCDF-GHJ\u212a", "\xff\xfe"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if code, ok := normalCode(s); ok {
			if again, ok := normalCode(code); !ok || again != code || len(code) != 9 {
				t.Errorf("%q is read as %q", s, code)
			}
		}
	})
}

func FuzzRefreshToken(f *testing.F) {
	for _, s := range []string{"ChBhYWFhYWFhYWFhYWFhYWFhEhBiYmJiYmJiYmJiYmJiYmJi", "", "%", "CgA", "CgBSAA"} {
		f.Add(s)
	}
	f.Fuzz(func(_ *testing.T, s string) { refreshID(s) })
}

func TestBrowserThatDidNotBeginCannotGoOn(t *testing.T) {
	b := open(t)
	b.user("ann@example.org")
	s := b.begin()
	mine := b.browser()
	p := mine.password(s, "ann@example.org", secret)
	if p.status != http.StatusSeeOther {
		t.Fatalf("%d", p.status)
	}
	if got := b.browser().ask("GET", p.to, nil); got.status != http.StatusForbidden {
		t.Errorf("another browser finishes the sign-in: %d %s", got.status, got.to)
	}
	if got := mine.ask("GET", p.to, nil); got.status != http.StatusSeeOther || !strings.Contains(got.to, "iss=") {
		t.Errorf("%d %s", got.status, got.to)
	}
	if got := mine.ask("GET", p.to, nil); got.status < 400 {
		t.Errorf("a second code: %d %s", got.status, got.to)
	}
}

func TestFormThatIsTooLargeIsRefused(t *testing.T) {
	b := open(t)
	p := b.browser().ask("POST", "/dex/token", url.Values{"x": {strings.Repeat("x", maxForm+1)}})
	if p.status < 400 || p.status >= 500 {
		t.Errorf("%d", p.status)
	}
}
