package server_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"lanyard/mgmt/api"
	"lanyard/mgmt/server"
	"lanyard/sshd/token"
)

func TestOnlyAPushedSignInStarts(t *testing.T) {
	n := start(t)
	n.user("ann@example.org")
	m := n.enrolled("laptop", false)
	s, err := m.push(api.PurposeLogin)
	if err != nil {
		t.Fatal(err)
	}
	q := url.Values{
		"client_id": {"lanyard"}, "response_type": {"code"}, "scope": {"openid"}, "redirect_uri": {s.start.RedirectURI}, "state": {"x"},
		"nonce": {token.Nonce(s.start.Salt, s.start.Key)}, "code_challenge": {s.start.CodeChallenge}, "code_challenge_method": {"S256"},
	}.Encode()
	for _, path := range []string{
		"/dex/auth?" + q, "/dex/auth/local?" + q, "/dex/auth/local%2Flogin?" + q, "/dex/auth/local/login?" + q, "/dex//auth/local?" + q,
		"/dex/auth/local/?" + q, "/dex/auth?req=x&hmac=y&" + q, "/dex/device", "/dex/device/code", "/dex/userinfo", "/dex/token/introspect",
		"/dex/healthz", "/dex/", "/dex/approval", "/dex/auth/x/../local?" + q,
	} {
		for _, method := range []string{"GET", "POST"} {
			req, _ := http.NewRequest(method, n.at(path), strings.NewReader(q))
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			res, err := newBrowser(t).Do(req)
			page := read(t, res, err)
			if page.status == http.StatusTemporaryRedirect { // to the cleaned path
				page = n.get(newBrowser(t), page.to)
			}
			if page.status < 400 || page.status >= 500 {
				t.Errorf("%s %s: %d", method, path, page.status)
			}
		}
	}
}

func TestSignInLinkIsGoodOnceAndInOneBrowser(t *testing.T) {
	n := start(t)
	n.user("ann@example.org")
	m := n.enrolled("laptop", false)
	s, err := m.push(api.PurposeLogin)
	if err != nil {
		t.Fatal(err)
	}
	page := n.get(s.browser, s.started.AuthURL)
	for _, want := range []string{"laptop", "ann", s.started.ShortCode} {
		if !strings.Contains(page.text, want) {
			t.Errorf("the page does not show %q: %s", want, page.text)
		}
	}
	if !strings.Contains(page.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") || page.header.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("headers: %v", page.header)
	}
	// Without the browser's cookie, or with another page's token, the button does nothing.
	if got := n.post(newBrowser(t), page.action, page.fields); got.status != http.StatusForbidden {
		t.Errorf("the button in another browser: %d", got.status)
	}
	if got := n.post(s.browser, page.action, url.Values{"csrf": {"x"}}); got.status != http.StatusForbidden {
		t.Errorf("the button without its token: %d", got.status)
	}
	form := n.post(s.browser, page.action, page.fields)
	if form.status != http.StatusSeeOther {
		t.Fatalf("the button: %d", form.status)
	}
	if strings.Contains(form.to, "nonce") || strings.Contains(form.to, "code_challenge") {
		t.Errorf("what was pushed travels through the browser: %s", form.to)
	}
	if got := n.post(s.browser, page.action, page.fields); got.status != http.StatusGone {
		t.Errorf("the button again: %d", got.status)
	}
	if got := n.get(newBrowser(t), s.started.AuthURL); got.status != http.StatusGone {
		t.Errorf("the link again: %d", got.status)
	}
	// Somebody who is sent the password form, past the page that names the machine, cannot use it.
	if got := n.get(newBrowser(t), form.to); got.status != http.StatusForbidden {
		t.Errorf("the form in another browser: %d", got.status)
	}
	other := newBrowser(t)
	for _, c := range s.browser.Jar.Cookies(mustURL(t, n.at(form.to))) {
		c.Value, c.Path = "guessed", "/"
		other.Jar.SetCookies(mustURL(t, n.at(form.to)), []*http.Cookie{c})
	}
	if got := n.get(other, form.to); got.status != http.StatusForbidden {
		t.Errorf("the form with another cookie: %d", got.status)
	}
	if got := n.get(s.browser, form.to); got.status != http.StatusOK || got.fields["password"] == nil {
		t.Errorf("the form: %d %s", got.status, got.text)
	}
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// A block counts at every step of a sign-in that is under way.
func TestBlockStopsASignInUnderWay(t *testing.T) {
	n := start(t)
	n.user("ann@example.org")
	m := n.enrolled("laptop", false)
	s, err := m.push(api.PurposeLogin)
	if err != nil {
		t.Fatal(err)
	}
	code := n.code(s, "ann@example.org", password).Get("code")
	between, err := m.push(api.PurposeLogin)
	if err != nil {
		t.Fatal(err)
	}
	page := n.form(between)
	page.fields.Set("login", "ann@example.org")
	page.fields.Set("password", password)
	page = n.post(between.browser, page.action, page.fields)
	n.admin("POST", "/api/admin/users/ann@example.org/block", nil, nil)
	if got := n.exchange(s, code); code == "" || got.ID != "" || got.Error != "invalid_grant" {
		t.Errorf("the code of a blocked person: %+v", got)
	}
	page = n.get(between.browser, page.to)
	if back := mustURL(t, page.to).Query(); back.Get("code") != "" || back.Get("error") != "access_denied" || back.Get("state") != between.start.State {
		t.Errorf("after the password: %d to %s", page.status, page.to)
	}
}

func TestPushRefusesWhatIsNotASignInOfThisMachine(t *testing.T) {
	n := start(t)
	m := n.enrolled("laptop", false)
	s, err := m.push(api.PurposeLogin)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*api.LoginStart){
		"redirect to a host":       func(l *api.LoginStart) { l.RedirectURI = "http://evil.example/callback" },
		"redirect to localhost":    func(l *api.LoginStart) { l.RedirectURI = "http://localhost:9/callback" },
		"redirect with user":       func(l *api.LoginStart) { l.RedirectURI = "http://127.0.0.1:9@evil.example/callback" },
		"redirect with query":      func(l *api.LoginStart) { l.RedirectURI = "http://127.0.0.1:9/callback?x" },
		"redirect elsewhere":       func(l *api.LoginStart) { l.RedirectURI = "http://127.0.0.1:9/other" },
		"redirect without port":    func(l *api.LoginStart) { l.RedirectURI = "http://127.0.0.1/callback" },
		"redirect by https":        func(l *api.LoginStart) { l.RedirectURI = "https://127.0.0.1:9/callback" },
		"no challenge":             func(l *api.LoginStart) { l.CodeChallenge = "" },
		"a plain challenge":        func(l *api.LoginStart) { l.CodeChallenge = "verifier" },
		"a short salt":             func(l *api.LoginStart) { l.Salt = l.Salt[:16] },
		"no key":                   func(l *api.LoginStart) { l.Key = nil },
		"another issuer":           func(l *api.LoginStart) { l.Issuer = "https://evil.example" },
		"no account":               func(l *api.LoginStart) { l.Account = "" },
		"a control character":      func(l *api.LoginStart) { l.Account = "a\x1b[2J" },
		"no state":                 func(l *api.LoginStart) { l.State = "" },
		"another purpose":          func(l *api.LoginStart) { l.Purpose = "admin" },
		"purpose with a line feed": func(l *api.LoginStart) { l.Purpose = "login\n" },
	} {
		l := s.start
		change(&l)
		if _, err := n.api.Login(t.Context(), m.Machine, l); err == nil {
			t.Errorf("%s is accepted", name)
		} else {
			refused(t, err, http.StatusBadRequest, "")
		}
	}
	stranger := n.machine("stranger", false)
	_, err = n.api.Login(t.Context(), stranger.Machine, s.start)
	refused(t, err, http.StatusForbidden, "not enrolled")
	l := s.start
	l.RedirectURI = "http://[::1]:9/callback"
	if _, err := n.api.Login(t.Context(), m.Machine, l); err != nil {
		t.Errorf("IPv6 loopback: %v", err)
	}
}

func TestCodeThatIsKeptEndsWithTheLogins(t *testing.T) {
	n := start(t)
	n.user("ann@example.org")
	m := n.enrolled("laptop", false)
	s, err := m.push(api.PurposeLogin)
	if err != nil {
		t.Fatal(err)
	}
	code := n.code(s, "ann@example.org", password).Get("code")
	between, err := m.push(api.PurposeLogin)
	if err != nil {
		t.Fatal(err)
	}
	page := n.form(between)
	page.fields.Set("login", "ann@example.org")
	page.fields.Set("password", password)
	page = n.post(between.browser, page.action, page.fields)
	n.admin("POST", "/api/admin/users/ann@example.org/logout", nil, nil)
	if got := n.exchange(s, code); code == "" || got.ID != "" || got.Error == "" {
		t.Errorf("a code of before was good for a token (%q)", got.Error)
	}
	page = n.get(between.browser, page.to)
	if strings.Contains(page.to, "code=") {
		t.Errorf("a sign-in from before goes on after its password: %d", page.status)
	}
}

func TestCodeNeedsItsVerifier(t *testing.T) {
	n := start(t)
	n.user("ann@example.org")
	m := n.enrolled("laptop", false)
	for _, verifier := range []string{"", strings.Repeat("x", 43)} {
		s, err := m.push(api.PurposeLogin)
		if err != nil {
			t.Fatal(err)
		}
		code := n.code(s, "ann@example.org", password).Get("code")
		s.verifier = verifier
		if got := n.exchange(s, code); got.ID != "" || got.Error == "" {
			t.Errorf("the verifier %q: %+v", verifier, got)
		}
	}
}

func TestGuessingIsSlowAndTellsNothing(t *testing.T) {
	c := &clock{}
	n := start(t, func(cfg *server.Config) { cfg.Now = c.Now })
	n.user("ann@example.org")
	m := n.enrolled("laptop", false)
	s, err := m.push(api.PurposeLogin)
	if err != nil {
		t.Fatal(err)
	}
	form := n.form(s)
	c.stop() // no wait ends meanwhile
	try := func(email, pw string) document {
		f := url.Values{"login": {email}, "password": {pw}}
		return n.post(s.browser, form.action, f)
	}
	known, unknown := try("ann@example.org", "wrong wrong"), try("nobody@example.org", "wrong wrong")
	if known.status != unknown.status || strings.ReplaceAll(known.text, "ann@", "nobody@") != unknown.text {
		t.Errorf("a known address answers %q, an unknown one %q", known.text, unknown.text)
	}
	for _, email := range []string{"nobody@example.org", "ann@example.org"} {
		slow := false
		for range 10 {
			if slow = try(email, "wrong wrong").status == http.StatusTooManyRequests; slow {
				break
			}
		}
		if !slow {
			t.Errorf("ten guesses for %s were answered at once", email)
		}
	}
	if got := try("ANN@example.org ", password); got.status != http.StatusTooManyRequests {
		t.Errorf("the right password, while waiting: %d", got.status)
	}
}

func TestFirstAdministratorBySecret(t *testing.T) {
	n := start(t)
	secret := n.server.SetupSecret()
	if secret == "" {
		t.Fatal("no setup secret")
	}
	setup := func(secret string) error {
		body := strings.NewReader(`{"secret":"` + secret + `","email":"root@example.org","name":"Root","password":"` + password + `"}`)
		return answer(http.Post(n.at(api.RouteSetup), "application/json", body))(nil)
	}
	refused(t, setup("ls_wrong"), http.StatusForbidden, "secret")
	if err := setup(secret); err != nil {
		t.Fatal(err)
	}
	refused(t, setup(secret), http.StatusForbidden, "secret")
	m := n.machine("laptop", false)
	s := m.login("root@example.org")
	me, err := n.api.Me(t.Context(), s.Login)
	if err != nil || !me.Admin {
		t.Errorf("me: %+v, %v", me, err)
	}
	n.stop()
	n.open()
	if n.server.SetupSecret() != "" {
		t.Error("a second start draws another secret")
	}
}
