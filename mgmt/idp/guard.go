package idp

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/dexidp/dex/storage"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
	"lanyard/mgmt/store"
)

const maxForm = 64 << 10

// ServeHTTP serves everything under the issuer. It is a list of what may be asked; the rest of dex is not reachable:
// no authorization that was not pushed, no device flow, no user info or introspection for bearers of a token.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	headers(w)
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	// dex routes by the escaped path, this by the plain one: a path on which they differ is refused.
	if r.URL.RawPath != "" || strings.Contains(r.URL.Path, "//") || strings.Contains(r.URL.Path, "/.") && !strings.HasPrefix(p.path(r.URL.Path), "/.well-known/") {
		p.notFound(w)
		return
	}
	path := p.path(r.URL.Path)
	get, post := r.Method == http.MethodGet || r.Method == http.MethodHead, r.Method == http.MethodPost
	id, isLogin := strings.CutPrefix(path, "/login/")
	switch {
	case path == "/.well-known/openid-configuration" && get, path == "/keys" && get,
		strings.HasPrefix(path, "/static/") && get, strings.HasPrefix(path, "/theme/") && get:
		p.dex.ServeHTTP(w, r)
	case path == "/token" && post:
		p.token(w, r)
	case path == codePath && get:
		p.askCode(w, r, "")
	case path == codePath && post:
		p.takeCode(w, r)
	case path == foreignPath && post:
		p.goOn(w, r)
	case isLogin && get:
		p.confirm(w, r, id)
	case isLogin && post:
		p.proceed(w, r, id)
	case path == "/auth" && get && r.URL.Query().Get("req") != "":
		p.finish(w, r)
	case strings.HasPrefix(path, "/auth/") && strings.HasSuffix(path, "/login") && (get || post):
		p.password(w, r)
	case strings.HasPrefix(path, "/callback") && get:
		p.callback(w, r)
	case path == "/auth" || strings.HasPrefix(path, "/auth/"):
		p.page(w, http.StatusForbidden, "A sign-in begins on a machine: run 'lanyard login' there, or use its tray.")
	default:
		p.notFound(w)
	}
}

func (p *Provider) notFound(w http.ResponseWriter) {
	p.page(w, http.StatusNotFound, "There is nothing here.")
}

// Cookies tie a login to one browser. The name has the start of the flow's id, so that two tabs do not disturb each
// other.
func (p *Provider) cookieName(flowID string) string {
	return "lanyard-" + flowID[:min(len(flowID), 12)]
}

func (p *Provider) setCookie(w http.ResponseWriter, flowID, value string) {
	http.SetCookie(w, &http.Cookie{
		Name: p.cookieName(flowID), Value: value, Path: p.base + "/", MaxAge: int(flowLife / time.Second),
		HttpOnly: true, Secure: p.secure, SameSite: http.SameSiteLaxMode,
	})
}

func (p *Provider) csrf(flowID, cookie string) string {
	m := hmac.New(sha256.New, p.Settings.FlowKey)
	fmt.Fprintf(m, "%s\x00%s", flowID, cookie)
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

func browserHash(cookie string) []byte {
	h := sha256.Sum256([]byte(cookie))
	return h[:]
}

const goneLink = "This sign-in link was used already or has run out; start again with 'lanyard login'."

// confirm shows which machine and account ask, and the short code.
func (p *Provider) confirm(w http.ResponseWriter, r *http.Request, id string) {
	f, err := p.Store.Flow(r.Context(), id)
	if err != nil || len(f.Browser) > 0 || f.Kind != store.KindBrowser { // a code is typed, never a link followed
		p.page(w, http.StatusGone, goneLink)
		return
	}
	p.ask(w, r, f)
}

// ask shows who asks for a sign-in, with the ways to go on.
func (p *Provider) ask(w http.ResponseWriter, r *http.Request, f store.Flow) {
	id := f.ID
	page, err := p.describe(r.Context(), f)
	if err != nil {
		p.fail(w, err)
		return
	}
	cookie := api.NewID("") + api.NewID("")
	if c, err := r.Cookie(p.cookieName(id)); err == nil && c.Value != "" {
		cookie = c.Value // the page was reloaded
	}
	page.Action, page.CSRF = p.base+"/login/"+id, p.csrf(id, cookie)
	if page.Connectors, err = p.connectors(r); err != nil {
		p.fail(w, err)
		return
	}
	p.setCookie(w, id, cookie)
	p.Log.Info("a browser opened a sign-in", "machine", f.Start.MachineName, "account", f.Start.Account)
	p.render(w, http.StatusOK, "confirm.html", page)
}

func (p *Provider) connectors(r *http.Request) ([]storage.Connector, error) {
	all, err := p.db.ListConnectors(r.Context())
	if err == nil && len(all) == 0 {
		err = errors.New("the provider has no way to sign in")
	}
	return all, err
}

// proceed is the button of the confirm page: it makes dex's request from what was pushed, and goes on to the way of
// signing in that was chosen.
func (p *Provider) proceed(w http.ResponseWriter, r *http.Request, id string) {
	ctx := r.Context()
	f, err := p.Store.Flow(ctx, id)
	if err != nil {
		p.page(w, http.StatusGone, goneLink)
		return
	}
	c, err := r.Cookie(p.cookieName(id))
	if err != nil || !hmac.Equal([]byte(r.PostFormValue("csrf")), []byte(p.csrf(id, c.Value))) {
		p.page(w, http.StatusForbidden, "The page does not belong to this browser; open the sign-in link again.")
		return
	}
	if err := p.Store.ContinueFlow(ctx, id, browserHash(c.Value)); err != nil {
		p.page(w, http.StatusGone, goneLink)
		return
	}
	way := r.PostFormValue("connector")
	if way == "" {
		way = localConnector
	}
	q := url.Values{
		"client_id": {clientOf(f.Kind)}, "response_type": {"code"}, "scope": {strings.Join(p.scopes(f.Kind), " ")},
		"redirect_uri": {f.Start.RedirectURI}, "state": {f.Start.State}, "nonce": {f.Nonce},
		"code_challenge": {f.Start.CodeChallenge}, "code_challenge_method": {"S256"},
	}
	inner, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+"/auth/"+url.PathEscape(way)+"?"+q.Encode(), nil)
	if err != nil {
		p.fail(w, err)
		return
	}
	rec := &recorder{header: http.Header{}}
	p.dex.ServeHTTP(rec, inner)
	to, err := url.Parse(rec.header.Get("Location"))
	if err != nil || rec.status != http.StatusFound || to.Query().Get("state") == "" {
		p.fail(w, fmt.Errorf("the provider did not start the login: status %d", rec.status))
		return
	}
	if err := p.Store.BindFlow(ctx, id, to.Query().Get("state")); err != nil {
		p.fail(w, err)
		return
	}
	if to.Host == "" { // the password form: without its link to other ways
		to.RawQuery = url.Values{"state": {to.Query().Get("state")}}.Encode()
	}
	w.Header().Set("Location", to.String())
	w.WriteHeader(http.StatusSeeOther)
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	status int
	body   *bytes.Buffer // nil: not kept
}

func (r *recorder) Header() http.Header { return r.header }
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *recorder) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	if r.body != nil {
		r.body.Write(b)
	}
	return len(b), nil
}

// own finds the login behind one of dex's requests and checks that this browser continued it.
func (p *Provider) own(w http.ResponseWriter, r *http.Request, authReq string) (store.Flow, bool) {
	f, err := p.Store.FlowByAuthReq(r.Context(), authReq)
	if err != nil {
		p.page(w, http.StatusGone, goneLink)
		return f, false
	}
	c, err := r.Cookie(p.cookieName(f.ID))
	if err != nil || subtle.ConstantTimeCompare(browserHash(c.Value), f.Browser) != 1 {
		p.page(w, http.StatusForbidden, "This sign-in was begun in another browser; start again with 'lanyard login'.")
		return f, false
	}
	return f, true
}

// password is dex's form, with guessing made slow.
func (p *Provider) password(w http.ResponseWriter, r *http.Request) {
	authReq := r.URL.Query().Get("state")
	f, ok := p.own(w, r, authReq)
	if !ok {
		return
	}
	r.URL.RawQuery = url.Values{"state": {authReq}}.Encode()
	if r.Method != http.MethodPost {
		p.dex.ServeHTTP(w, r)
		return
	}
	account := strings.TrimSpace(r.PostFormValue("login"))
	r.PostForm.Set("login", account)
	r.Form.Set("login", account)
	guess, err := p.guess(r, f, account)
	if err != nil {
		p.fail(w, err)
		return
	}
	if p.tooSoon(w, p.slow.begin(guess)) {
		return
	}
	out := &watcher{ResponseWriter: w}
	p.dex.ServeHTTP(out, r.WithContext(context.WithValue(r.Context(), atForm{}, true)))
	if out.status == http.StatusSeeOther {
		p.slow.succeeded(guess)
		if err := p.noteKnown(r, authReq, guess); err != nil {
			p.Log.Error("note whence somebody signed in", "err", err)
		}
	}
}

// noteKnown makes the place known from which somebody gave their password, unless they are blocked.
func (p *Provider) noteKnown(r *http.Request, authReq string, guess attempt) error {
	req, err := p.db.GetAuthRequest(r.Context(), authReq)
	if err != nil {
		return err
	}
	if blocked, err := p.blocked(r, req.Claims.UserID, req.ConnectorID); blocked || err != nil {
		return err
	}
	return p.Store.NoteKnown(r.Context(), guess.account, guess.asker)
}

// guess is an attempt to give an account's password in the sign-in f.
func (p *Provider) guess(r *http.Request, f store.Flow, account string) (attempt, error) {
	a := attempt{account: strings.ToLower(account), asker: askerOf(f), from: remote(r)}
	if a.asker == "" { // the machine is not enrolled: whoever asks is nobody yet
		return a, nil
	}
	var err error
	if a.known, err = p.Store.Known(r.Context(), a.account, a.asker); err != nil || a.known {
		return a, err
	}
	page, err := p.describe(r.Context(), f)
	a.known = page.owner != api.UserRef{} && strings.EqualFold(page.Owner, account)
	return a, err
}

// askerOf names where a sign-in was begun, for as long as the machine is enrolled.
func askerOf(f store.Flow) string {
	switch {
	case f.Session != nil:
		return "session/" + f.Session.Source
	case f.Peer != "":
		return f.Peer + "/" + f.Start.Account
	}
	return ""
}

// tooSoon answers whoever has to wait, and reports whether they have to.
func (p *Provider) tooSoon(w http.ResponseWriter, wait time.Duration) bool {
	if wait <= 0 {
		return false
	}
	seconds := int((wait + time.Second - 1) / time.Second)
	w.Header().Set("Retry-After", fmt.Sprint(seconds))
	p.page(w, http.StatusTooManyRequests, fmt.Sprintf("Too many attempts; wait %d seconds, go back and try again.", seconds))
	return true
}

type watcher struct {
	http.ResponseWriter
	status int
	// location may change where a redirect goes.
	location func(string) string
}

func (w *watcher) WriteHeader(status int) {
	w.status = status
	if to := w.Header().Get("Location"); to != "" && w.location != nil {
		w.Header().Set("Location", w.location(to))
	}
	w.ResponseWriter.WriteHeader(status)
}

// callback is where other providers send the browser back.
func (p *Provider) callback(w http.ResponseWriter, r *http.Request) {
	if _, ok := p.own(w, r, r.URL.Query().Get("state")); ok {
		p.dex.ServeHTTP(w, r)
	}
}

// finish hands the code to the loopback listener, unless the person is blocked.
func (p *Provider) finish(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	id := r.URL.Query().Get("req")
	f, ok := p.own(w, r, id)
	if !ok {
		return
	}
	req, err := p.db.GetAuthRequest(ctx, id)
	if err != nil {
		p.page(w, http.StatusGone, goneLink)
		return
	}
	if f.Kind != store.KindBrowser {
		p.finishCode(w, r, f, req, false)
		return
	}
	back, err := url.Parse(f.Start.RedirectURI)
	if err != nil {
		p.fail(w, err)
		return
	}
	if req.LoggedIn {
		blocked, err := p.blocked(r, req.Claims.UserID, req.ConnectorID)
		if err != nil {
			p.fail(w, err)
			return
		}
		if blocked {
			p.refusedBlocked(r, f, req)
			back.RawQuery = url.Values{
				"error": {"access_denied"}, "error_description": {reason.Blocked.Sentence()}, "state": {f.Start.State}, "iss": {p.issuer},
				api.ParamReason: {string(reason.Blocked)},
			}.Encode()
			http.Redirect(w, r, back.String(), http.StatusSeeOther)
			return
		}
	}
	p.dex.ServeHTTP(&watcher{ResponseWriter: w, location: func(to string) string {
		u, err := url.Parse(to)
		if err != nil || u.Host != back.Host {
			return to
		}
		q := u.Query()
		q.Set("iss", p.issuer) // RFC 9207 §2
		u.RawQuery = q.Encode()
		return u.String()
	}}, r)
}

// refusedBlocked leaves a trace of somebody who is blocked and still has a way to sign in.
func (p *Provider) refusedBlocked(r *http.Request, f store.Flow, req storage.AuthRequest) {
	p.Log.Warn("a person who is blocked signed in and was refused", "user", req.Claims.Email, "machine", f.Start.MachineName,
		"account", f.Start.Account, "from", remote(r))
}

func (p *Provider) blocked(r *http.Request, userID, connID string) (bool, error) {
	u, err := p.user(r.Context(), userID, connID)
	if errors.Is(err, store.ErrNotFound) {
		return connID == localConnector, nil // somebody of another provider is made when first seen
	}
	return u.Blocked, err
}

// token is the token endpoint (RFC 6749 §3.2): codes and refresh tokens of our one client, of people who are not
// blocked.
func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	if err := r.ParseForm(); err != nil {
		oauthError(w, "invalid_request", "The form cannot be read.")
		return
	}
	var userID, connID, nonce string
	gone := func() {
		oauthError(w, "invalid_grant", "The sign-in has ended; run 'lanyard login'.")
	}
	switch r.PostForm.Get("grant_type") {
	case "authorization_code":
		if r.PostForm.Get("code_verifier") == "" {
			oauthError(w, "invalid_request", "PKCE is required: the code verifier is missing.")
			return
		}
		code, err := p.db.GetAuthCode(ctx, r.PostForm.Get("code"))
		if err != nil {
			gone()
			return
		}
		userID, connID, nonce = code.Claims.UserID, code.ConnectorID, code.Nonce
	case "refresh_token":
		id := refreshID(r.PostForm.Get("refresh_token"))
		t, err := p.db.GetRefresh(ctx, id)
		if err != nil {
			gone()
			return
		}
		userID, connID, nonce = t.Claims.UserID, t.ConnectorID, t.Nonce
		r = r.WithContext(withRefresh(ctx, id))
	default:
		oauthError(w, "unsupported_grant_type", "Only codes and refresh tokens are taken here.")
		return
	}
	lost, err := p.Store.Lost(ctx, nonce)
	if err == nil && lost { // its machine is, and the key on it
		gone()
		return
	}
	blocked, blockedErr := p.blocked(r, userID, connID)
	if err = errors.Join(err, blockedErr); err != nil {
		p.Log.Error("look up the person behind a token request", "err", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	if blocked {
		oauthError(w, "invalid_grant", reason.Blocked.Sentence())
		return
	}
	p.dex.ServeHTTP(w, r)
}

// oauthError is RFC 6749 §5.2.
func oauthError(w http.ResponseWriter, code, description string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	json.NewEncoder(w).Encode(map[string]string{"error": code, "error_description": description})
}

func remote(r *http.Request) netip.Addr {
	ap, _ := netip.ParseAddrPort(r.RemoteAddr)
	return ap.Addr().Unmap()
}
