package server_test

import (
	"bytes"
	"crypto/rand"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/client"
	"lanyard/mgmt/api/proof"
	"lanyard/mgmt/api/reason"
	"lanyard/mgmt/server"
	"lanyard/mgmt/store"
	"lanyard/sshd/token"
)

// pushDevice begins a sign-in with a code at the machine.
func (m *machine) pushDevice() (*signIn, error) {
	m.t.Helper()
	key, salt, err := token.NewKey(time.Now())
	if err != nil {
		m.t.Fatal(err)
	}
	wire, _ := ssh.NewPublicKey(key.Public())
	s := &signIn{Login: client.Login{Key: key, Salt: salt}, browser: newBrowser(m.t)}
	s.start = api.LoginStart{
		Purpose: api.PurposeLogin, Issuer: m.server.URL() + "/dex", Account: "ann", MachineName: m.request.Name, Key: wire.Marshal(), Salt: salt, Device: true,
	}
	s.started, err = m.api.Login(m.t.Context(), m.Machine, s.start)
	return s, err
}

func (m *machine) device() *signIn {
	m.t.Helper()
	s, err := m.pushDevice()
	if err != nil {
		m.t.Fatal(err)
	}
	return s
}

// typed types a code at the page, which is reached by the short address.
func (n *network) typed(b *http.Client, code string) document {
	n.t.Helper()
	page := n.get(b, n.get(b, api.PageCode).to)
	if page.status != http.StatusOK || page.fields["code"] == nil {
		n.t.Fatalf("the page that asks for a code: %d %s", page.status, page.text)
	}
	page.fields.Set("code", code)
	return n.post(b, page.action, page.fields)
}

// signedIn goes on from the page that names who asks, to the end.
func (n *network) signedIn(b *http.Client, page document, email string) document {
	n.t.Helper()
	page = n.post(b, page.action, page.fields)
	if page.status != http.StatusSeeOther {
		return page
	}
	page = n.get(b, page.to)
	page.fields.Set("login", email)
	page.fields.Set("password", password)
	page = n.post(b, page.action, page.fields)
	for page.status == http.StatusSeeOther {
		page = n.get(b, page.to)
	}
	return page
}

// polled asks for the tokens until there are some, or a refusal.
func (n *network) polled(s *signIn) (*api.LoginCodeTokens, error) {
	n.t.Helper()
	return n.api.LoginCode(n.t.Context(), s.Login, s.started.DeviceCode)
}

func TestCodeSignsInTheKeyThatAskedAndNoOther(t *testing.T) {
	n := start(t)
	n.user("ann@example.org")
	m := n.enrolled("laptop", false)
	s := m.device()
	if u := s.started; strings.Contains(u.AuthURL, u.ShortCode) || strings.Contains(u.DeviceCode, u.ShortCode) || !strings.HasSuffix(u.AuthURL, "/device") || u.Interval < 1 {
		t.Errorf("started: %+v", u)
	}
	if got, err := n.polled(s); err != nil || !got.Pending || got.IDToken != "" {
		t.Errorf("before anybody signed in: %+v, %v", got, err)
	}
	page := n.typed(s.browser, strings.ToLower(strings.ReplaceAll(s.started.ShortCode, "-", " ")))
	if page.status != http.StatusOK || !strings.Contains(page.text, "ann") || !strings.Contains(page.text, "laptop") || !strings.Contains(page.text, s.started.ShortCode) {
		t.Fatalf("after the code: %d %s", page.status, page.text)
	}
	if page = n.signedIn(s.browser, page, "ann@example.org"); page.status != http.StatusOK || !strings.Contains(page.text, "laptop") {
		t.Fatalf("at the end: %d %s", page.status, page.text)
	}
	// Whoever has the device code, and not the key, gets nothing, and takes nothing away.
	thief := m.device()
	_, err := n.api.LoginCode(t.Context(), thief.Login, s.started.DeviceCode)
	refused(t, err, http.StatusForbidden, "[key-mismatch]")
	// Nor does who has the key, and another code.
	id, _, _ := strings.Cut(s.started.DeviceCode, ".")
	for _, code := range []string{id, id + ".", id + "." + api.NewID("") + api.NewID(""), "x.y", thief.started.DeviceCode} {
		if _, err := n.api.LoginCode(t.Context(), s.Login, code); err == nil {
			t.Errorf("the code %q was good", code)
		}
	}
	// Nor a bare code.
	req, _ := http.NewRequest("POST", n.at(api.RouteLoginCode), strings.NewReader("{}"))
	req.Header.Set("Authorization", "DPoP "+s.started.DeviceCode)
	refused(t, answer(http.DefaultClient.Do(req))(nil), http.StatusUnauthorized, "proof")

	got, err := n.polled(s)
	if err != nil || got.IDToken == "" || got.RefreshToken == "" {
		t.Fatalf("the tokens: %+v, %v", got, err)
	}
	_, err = n.polled(s)
	refused(t, err, http.StatusGone, "[sign-in-expired]")
	s.Bound, s.refresh = got.IDToken, got.RefreshToken
	if me, err := n.api.Seen(t.Context(), s.Login); err != nil || me.Email != "ann@example.org" {
		t.Errorf("seen: %+v, %v", me, err)
	}
	// Its refresh token belongs to the client of such sign-ins, and keeps the binding.
	if got := n.refresh(s); got.ID != "" {
		t.Error("the other client refreshes it")
	}
	r := n.tokenOf("lanyard-device", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {s.refresh}})
	if r.ID == "" {
		t.Fatalf("refresh: %+v", r)
	}
	s.Fresh = r.ID
	if me, err := n.api.Me(t.Context(), s.Login); err != nil || me.Email != "ann@example.org" {
		t.Errorf("with the fresh token: %+v, %v", me, err)
	}
}

func TestCodeIsTypedNeverLinked(t *testing.T) {
	n := start(t)
	n.user("ann@example.org")
	m := n.enrolled("laptop", false)
	s := m.device()
	id, _, _ := strings.Cut(s.started.DeviceCode, ".")
	q := url.Values{"code": {s.started.ShortCode}, "user_code": {s.started.ShortCode}}
	if got := n.get(s.browser, "/device?"+q.Encode()); got.status != http.StatusSeeOther || strings.Contains(got.to, "?") {
		t.Errorf("the short address keeps the code: %d %s", got.status, got.to)
	}
	page := n.get(s.browser, "/dex/code/enter?"+q.Encode())
	if page.status != http.StatusOK || page.fields.Get("code") != "" || strings.Contains(page.text, "laptop") {
		t.Errorf("a link with the code: %+v", page)
	}
	if got := n.get(s.browser, "/dex/login/"+id); got.status != http.StatusGone {
		t.Errorf("a link to the page behind the code: %d", got.status)
	}
	// Another site that has the browser send a code it chose.
	if got := n.post(newBrowser(t), "/dex/code/enter", q); got.status != http.StatusForbidden {
		t.Errorf("the form from elsewhere: %d", got.status)
	}
	if got := n.post(s.browser, "/dex/code/enter", url.Values{"code": {s.started.ShortCode}, "csrf": {"x"}}); got.status != http.StatusForbidden {
		t.Errorf("the form with another token: %d", got.status)
	}
	// Another browser cannot press the button of this one.
	page = n.typed(s.browser, s.started.ShortCode)
	if got := n.post(newBrowser(t), page.action, page.fields); got.status != http.StatusForbidden {
		t.Errorf("the button in another browser: %d", got.status)
	}
	if got := n.signedIn(s.browser, page, "ann@example.org"); got.status != http.StatusOK {
		t.Errorf("the right way: %d %s", got.status, got.text)
	}
	// A code is good once.
	if got := n.typed(newBrowser(t), s.started.ShortCode); got.status != http.StatusNotFound {
		t.Errorf("the code again: %d %s", got.status, got.text)
	}
}

// other returns a letter of codes that is not c.
func other(c byte) string {
	if c == 'B' {
		return "C"
	}
	return "B"
}

func TestCodeIsDeadAfterFiveTries(t *testing.T) {
	n := start(t)
	n.user("ann@example.org")
	m := n.enrolled("laptop", false)
	s, twin := m.device(), m.device()
	code := s.started.ShortCode
	wrong := code[:8] + other(code[8])
	for i := range 5 {
		if got := n.typed(newBrowser(t), wrong); got.status != http.StatusNotFound {
			t.Fatalf("try %d: %d %s", i+1, got.status, got.text)
		}
	}
	if got := n.typed(newBrowser(t), code); got.status != http.StatusNotFound || strings.Contains(got.text, "laptop") {
		t.Errorf("the right code after five wrong ones: %d %s", got.status, got.text)
	}
	_, err := n.polled(s)
	refused(t, err, http.StatusGone, "[too-many]")
	// Another's code bears its own tries: the fourth wrong one leaves it good.
	code = twin.started.ShortCode
	wrong = code[:8] + other(code[8])
	for range 4 {
		n.typed(newBrowser(t), wrong)
	}
	if got := n.typed(newBrowser(t), code); got.status != http.StatusOK || !strings.Contains(got.text, "laptop") {
		t.Errorf("the right code after four wrong ones: %d %s", got.status, got.text)
	}
	// Guessing on is slow for the one who guesses.
	slow := false
	for range 20 {
		slow = slow || n.typed(newBrowser(t), "BBBB-BBBB").status == http.StatusTooManyRequests
	}
	if !slow {
		t.Error("thirty guesses were answered at once")
	}
}

func TestCodeRunsOutAtEveryStep(t *testing.T) {
	c := &clock{}
	n := start(t, func(cfg *server.Config) { cfg.Now = c.Now })
	n.user("ann@example.org")
	m := n.enrolled("laptop", false)
	life := 5*time.Minute + time.Second
	late := func() { c.advance(life) }
	back := func() { c.advance(-life) } // proofs of the machine go by its own clock
	for name, step := range map[string]func(s *signIn) document{
		"before it is typed": func(s *signIn) document { late(); return n.typed(s.browser, s.started.ShortCode) },
		"before the button": func(s *signIn) document {
			page := n.typed(s.browser, s.started.ShortCode)
			late()
			return n.post(s.browser, page.action, page.fields)
		},
		"before the password": func(s *signIn) document {
			page := n.typed(s.browser, s.started.ShortCode)
			page = n.get(s.browser, n.post(s.browser, page.action, page.fields).to)
			page.fields.Set("login", "ann@example.org")
			page.fields.Set("password", password)
			late()
			return n.post(s.browser, page.action, page.fields)
		},
		"after the password": func(s *signIn) document {
			page := n.typed(s.browser, s.started.ShortCode)
			page = n.get(s.browser, n.post(s.browser, page.action, page.fields).to)
			page.fields.Set("login", "ann@example.org")
			page.fields.Set("password", password)
			page = n.post(s.browser, page.action, page.fields)
			late()
			return n.get(s.browser, page.to)
		},
	} {
		s := m.device()
		if got := step(s); got.status != http.StatusNotFound && got.status != http.StatusGone {
			t.Errorf("%s: %d %s", name, got.status, got.text)
		}
		back()
		if got, err := n.polled(s); err == nil && !got.Pending {
			t.Errorf("%s: %+v", name, got)
		}
	}
	s := m.device()
	if got := n.signedIn(s.browser, n.typed(s.browser, s.started.ShortCode), "ann@example.org"); got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.text)
	}
	late()
	p, err := proof.Sign(s.Key, proof.Params{
		Method: "POST", URL: n.at(api.RouteLoginCode), Body: []byte("{}"), AccessToken: s.started.DeviceCode, Salt: s.Salt, Now: c.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequest("POST", n.at(api.RouteLoginCode), strings.NewReader("{}"))
	req.Header.Set("Authorization", "DPoP "+s.started.DeviceCode)
	req.Header.Set(api.HeaderProof, p)
	refused(t, answer(http.DefaultClient.Do(req))(nil), http.StatusGone, "[sign-in-expired]")
}

func TestForeignMachineIsNamedBeforeItIsSignedIn(t *testing.T) {
	n := start(t)
	n.user("ann@example.org")
	n.user("bob@example.org")
	m := n.machine("bobs", false)
	m.enrolBy("bob@example.org")
	s := m.device()
	page := n.typed(s.browser, s.started.ShortCode)
	if !strings.Contains(page.text, "bob@example.org") {
		t.Errorf("the owner is not named: %s", page.text)
	}
	page = n.signedIn(s.browser, page, "ann@example.org")
	if page.status != http.StatusOK || !strings.Contains(page.text, "bob@example.org") || !strings.Contains(page.text, "not your machine") {
		t.Fatalf("no warning: %d %s", page.status, page.text)
	}
	if got, err := n.polled(s); err != nil || !got.Pending {
		t.Errorf("before she has gone on: %+v, %v", got, err)
	}
	if got := n.post(newBrowser(t), page.action, page.fields); got.status != http.StatusForbidden {
		t.Errorf("the button in another browser: %d", got.status)
	}
	forged := url.Values{"query": page.fields["query"], "csrf": {"x"}}
	if got := n.post(s.browser, page.action, forged); got.status != http.StatusForbidden {
		t.Errorf("the button without its token: %d", got.status)
	}
	if got := n.post(s.browser, page.action, page.fields); got.status != http.StatusOK {
		t.Fatalf("going on: %d %s", got.status, got.text)
	}
	if got, err := n.polled(s); err != nil || got.IDToken == "" {
		t.Errorf("%+v, %v", got, err)
	}
	// Their own machine asks once.
	s = m.device()
	if page = n.signedIn(s.browser, n.typed(s.browser, s.started.ShortCode), "bob@example.org"); strings.Contains(page.text, "not your machine") {
		t.Errorf("bob is warned of himself: %s", page.text)
	}
}

func TestCodeIsForEnrolledMachines(t *testing.T) {
	n := start(t)
	m := n.enrolled("laptop", false)
	s := m.device()
	for name, change := range map[string]func(*api.LoginStart){
		"with a redirect":  func(l *api.LoginStart) { l.RedirectURI = "http://127.0.0.1:9/callback" },
		"with a challenge": func(l *api.LoginStart) { l.CodeChallenge = strings.Repeat("A", 43) },
		"with a state":     func(l *api.LoginStart) { l.State = "state-state" },
		"to enrol":         func(l *api.LoginStart) { l.Purpose = api.PurposeEnroll },
		"no account":       func(l *api.LoginStart) { l.Account = "" },
		"a short salt":     func(l *api.LoginStart) { l.Salt = l.Salt[:31] },
		"an RTL account":   func(l *api.LoginStart) { l.Account = "ann\u202e" },
	} {
		l := s.start
		change(&l)
		_, err := n.api.Login(t.Context(), m.Machine, l)
		if err == nil {
			t.Errorf("%s is accepted", name)
			continue
		}
		refused(t, err, http.StatusBadRequest, "")
	}
	_, err := n.api.Login(t.Context(), n.machine("stranger", false).Machine, s.start)
	refused(t, err, http.StatusForbidden, "not enrolled")
}

func TestBlockStopsASignInByCode(t *testing.T) {
	n := start(t)
	n.user("ann@example.org")
	n.user("bob@example.org")
	m := n.enrolled("laptop", false)
	// Between the page and the machine's question.
	s := m.device()
	n.signedIn(s.browser, n.typed(s.browser, s.started.ShortCode), "ann@example.org")
	n.admin("POST", "/api/admin/users/ann@example.org/block", nil, nil)
	_, err := n.polled(s)
	refused(t, err, http.StatusForbidden, "[blocked]")
	// Between the password and the page's end.
	s = m.device()
	page := n.typed(s.browser, s.started.ShortCode)
	page = n.get(s.browser, n.post(s.browser, page.action, page.fields).to)
	page.fields.Set("login", "bob@example.org")
	page.fields.Set("password", password)
	page = n.post(s.browser, page.action, page.fields)
	n.admin("POST", "/api/admin/users/bob@example.org/block", nil, nil)
	if got := n.get(s.browser, page.to); got.status != http.StatusForbidden {
		t.Errorf("%d %s", got.status, got.text)
	}
	_, err = n.polled(s)
	refused(t, err, http.StatusForbidden, "[blocked]")
	// Before the sign-in began: the page says so, and the machine does not wait for the code to run out.
	s = m.device()
	if got := n.signedIn(s.browser, n.typed(s.browser, s.started.ShortCode), "bob@example.org"); got.status != http.StatusForbidden || !strings.Contains(got.text, reason.Blocked.Sentence()) {
		t.Errorf("%d %s", got.status, got.text)
	}
	_, err = n.polled(s)
	refused(t, err, http.StatusForbidden, "[blocked]")
	// The end of all sign-ins takes those along that nobody has fetched.
	n.admin("POST", "/api/admin/users/bob@example.org/unblock", nil, nil)
	s = m.device()
	n.signedIn(s.browser, n.typed(s.browser, s.started.ShortCode), "bob@example.org")
	n.admin("POST", "/api/admin/users/bob@example.org/logout", nil, nil)
	_, err = n.polled(s)
	refused(t, err, http.StatusGone, "[sign-in-expired]")
}

// sessionOf is an SSH session on the machine.
func (m *machine) sessionOf(source *machine) api.SessionStart {
	r := api.SessionStart{HostKey: m.request.HostKeys[0].Key, LocalUser: "deploy", Source: source.Subject, SessionID: make([]byte, 32), Salt: make([]byte, 32)}
	rand.Read(r.SessionID)
	rand.Read(r.Salt)
	return r
}

func (m *machine) verify(t *testing.T, r api.SessionStart, raw string) (*token.Identity, error) {
	t.Helper()
	at := m.until("issuers", func(mm *api.Map) bool { return len(mm.Issuers) > 0 })
	trust, err := token.TrustFromMap(at)
	if err != nil {
		t.Fatal(err)
	}
	return trust.VerifySession(token.Session{
		ID: r.SessionID, HostKey: r.HostKey, LocalUser: r.LocalUser, Server: m.Subject, Source: r.Source, Salt: r.Salt,
	}, raw, time.Now())
}

func TestSignInForASessionIsGoodForThatSessionAlone(t *testing.T) {
	n := start(t)
	n.user("ann@example.org")
	web, laptop := n.enrolled("web-1", true).follow(nil), n.enrolled("laptop", false)
	r := web.sessionOf(laptop)
	s, err := n.api.Session(t.Context(), web.Machine, r)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := n.api.SessionCode(t.Context(), web.Machine, api.SessionPoll{ID: s.ID}); err != nil || !got.Pending {
		t.Errorf("before anybody signed in: %+v, %v", got, err)
	}
	b := newBrowser(t)
	page := n.typed(b, s.Code)
	for _, want := range []string{"laptop", "web-1", "deploy", s.Code} {
		if !strings.Contains(page.text, want) {
			t.Errorf("the page does not name %q: %s", want, page.text)
		}
	}
	if page = n.signedIn(b, page, "ann@example.org"); page.status != http.StatusOK {
		t.Fatalf("%d %s", page.status, page.text)
	}
	// No other machine gets the token, the source no more than any.
	_, err = n.api.SessionCode(t.Context(), laptop.Machine, api.SessionPoll{ID: s.ID})
	refused(t, err, http.StatusGone, "")
	got, err := n.api.SessionCode(t.Context(), web.Machine, api.SessionPoll{ID: s.ID})
	if err != nil || got.IDToken == "" {
		t.Fatalf("%+v, %v", got, err)
	}
	var people []store.User
	if n.admin("GET", "/api/admin/users", nil, &people); len(people) != 1 || people[0].SignedIn.IsZero() {
		t.Errorf("the list of people does not tell of it: %+v", people)
	}
	_, err = n.api.SessionCode(t.Context(), web.Machine, api.SessionPoll{ID: s.ID})
	refused(t, err, http.StatusGone, "[sign-in-expired]")
	if id, err := web.verify(t, r, got.IDToken); err != nil || id.Email != "ann@example.org" {
		t.Errorf("%+v, %v", id, err)
	}
	if _, err := web.verify(t, web.sessionOf(laptop), got.IDToken); !strings.Contains(err.Error(), string(reason.KeyMismatch)) {
		t.Errorf("in another session: %v", err)
	}
	// At the API it opens nothing, with whatever key.
	key, _, _ := token.NewKey(time.Now())
	_, err = n.api.Me(t.Context(), client.Login{Key: key, Salt: r.Salt, Bound: got.IDToken})
	refused(t, err, http.StatusUnauthorized, "[audience]")
	// It is in the audit log with where it was for.
	var events []audit.Event
	n.admin("GET", "/api/admin/audit", nil, &events)
	if !slices.ContainsFunc(events, func(e audit.Event) bool {
		return e.Type == audit.Login && e.Detail == "for one session" && e.User == "ann@example.org" && e.Source == laptop.Subject && e.LocalUser == "deploy" && e.Target == "web-1"
	}) {
		t.Errorf("the audit log lacks the sign-in: %+v", events)
	}
}

func TestSessionIsWhatTheMachineMaySay(t *testing.T) {
	n := start(t)
	n.user("ann@example.org")
	web, laptop := n.enrolled("web-1", true), n.enrolled("laptop", false)
	for name, change := range map[string]func(*api.SessionStart){
		"another's host key":      func(r *api.SessionStart) { r.HostKey = laptop.request.HostKeys[0].Key },
		"no host key":             func(r *api.SessionStart) { r.HostKey = nil },
		"a short session id":      func(r *api.SessionStart) { r.SessionID = r.SessionID[:15] },
		"a long session id":       func(r *api.SessionStart) { r.SessionID = bytes.Repeat([]byte{1}, 65) },
		"a short salt":            func(r *api.SessionStart) { r.Salt = r.Salt[:31] },
		"no account":              func(r *api.SessionStart) { r.LocalUser = "" },
		"an account with escapes": func(r *api.SessionStart) { r.LocalUser = "a\x1b]0;x" },
		"itself as the source":    func(r *api.SessionStart) { r.Source = web.Subject },
		"an unknown source":       func(r *api.SessionStart) { r.Source = "pnobody" },
	} {
		r := web.sessionOf(laptop)
		change(&r)
		_, err := n.api.Session(t.Context(), web.Machine, r)
		if err == nil {
			t.Errorf("%s is accepted", name)
			continue
		}
		refused(t, err, http.StatusBadRequest, "")
	}
	_, err := n.api.Session(t.Context(), n.machine("stranger", false).Machine, web.sessionOf(laptop))
	refused(t, err, http.StatusForbidden, "not enrolled")
	// Nobody waits any more: the code is dead, and cannot be ended by another machine.
	s, err := n.api.Session(t.Context(), web.Machine, web.sessionOf(laptop))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.api.SessionCode(t.Context(), laptop.Machine, api.SessionPoll{ID: s.ID, Cancel: true}); err != nil {
		t.Error(err)
	}
	if got := n.typed(newBrowser(t), s.Code); got.status != http.StatusOK {
		t.Errorf("another machine ended it: %d %s", got.status, got.text)
	}
	if _, err := n.api.SessionCode(t.Context(), web.Machine, api.SessionPoll{ID: s.ID, Cancel: true}); err != nil {
		t.Error(err)
	}
	if got := n.typed(newBrowser(t), s.Code); got.status != http.StatusNotFound {
		t.Errorf("the code of a cancelled sign-in: %d %s", got.status, got.text)
	}
}

func TestMachineHasSoManyCodesAndNoMore(t *testing.T) {
	c := &clock{}
	n := start(t, func(cfg *server.Config) { cfg.Now = c.Now })
	web, laptop := n.enrolled("web-1", true), n.enrolled("laptop", false)
	c.stop()
	began := 0
	for range 70 {
		if _, err := n.api.Session(t.Context(), web.Machine, web.sessionOf(laptop)); err != nil {
			refused(t, err, http.StatusTooManyRequests, "[too-many]")
			break
		}
		began++
	}
	if began != 60 {
		t.Errorf("%d at once", began)
	}
	// However slowly they come.
	for range 60 {
		c.advance(time.Second) // no more than a proof may be off
		if _, err := n.api.Session(t.Context(), web.Machine, web.sessionOf(laptop)); err != nil {
			break
		}
		began++
		if began > 100 {
			break
		}
	}
	if began != 100 {
		t.Errorf("%d wait, want 100", began)
	}
	// Another machine's are its own.
	if _, err := n.api.Session(t.Context(), laptop.Machine, laptop.sessionOf(web)); err != nil {
		t.Error(err)
	}
}

// Whoever guesses a person's password from elsewhere does not keep them from signing in where they did before.
func TestGuessesElsewhereLockNobodyOut(t *testing.T) {
	c := &clock{}
	n := start(t, func(cfg *server.Config) { cfg.Now = c.Now })
	n.user("ann@example.org")
	home, own := n.enrolled("home", false), n.machine("own", false)
	home.login("ann@example.org")
	own.enrolBy("ann@example.org")
	guess := func(s *signIn, form document) (slow bool) {
		t.Helper()
		return n.post(s.browser, form.action, url.Values{"login": {"ann@example.org"}, "password": {"wrong wrong"}}).status == http.StatusTooManyRequests
	}
	at := func(m *machine) (*signIn, document) {
		t.Helper()
		s, err := m.push(api.PurposeLogin)
		if err != nil {
			t.Fatal(err)
		}
		return s, n.form(s)
	}
	var foes []func() bool
	for _, foe := range []string{"foe1", "foe2", "foe3", "foe4", "foe5"} { // enough to slow down every stranger
		s, form := at(n.enrolled(foe, false))
		foes = append(foes, func() bool { return guess(s, form) })
	}
	c.stop() // no wait ends meanwhile
	slow := 0
	for _, try := range foes {
		for range 8 {
			if try() {
				slow++
			}
		}
	}
	c.goOn()
	if slow < 20 {
		t.Errorf("%d of 40 guesses were slowed down", slow)
	}
	home.login("ann@example.org") // from the same address, at once
	own.login("ann@example.org")  // and on her own machine, without having been there
	// Guessing from a known place is slowed down as well.
	s, form := at(home)
	c.stop()
	slow = 0
	for range 10 {
		if guess(s, form) {
			slow++
		}
	}
	if slow < 4 {
		t.Errorf("%d of 10 guesses from a known place were slowed down", slow)
	}
}

func TestOneAccountCannotUseUpTheMachinesSignIns(t *testing.T) {
	n := start(t)
	m := n.enrolled("shared", false)
	s := m.device()
	start := s.start
	start.Account = "mallory"
	refusals := 0
	for range 70 {
		if _, err := n.api.Login(t.Context(), m.Machine, start); err != nil {
			refused(t, err, http.StatusTooManyRequests, "[too-many]")
			refusals++
		}
	}
	if refusals < 40 {
		t.Errorf("%d of 70 were refused", refusals)
	}
	start.Account = "ann"
	if _, err := n.api.Login(t.Context(), m.Machine, start); err != nil {
		t.Errorf("ann cannot sign in: %v", err)
	}
}
