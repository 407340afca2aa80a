package idp

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/dexidp/dex/server/tokens"
	"github.com/dexidp/dex/storage"
	"golang.org/x/oauth2"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/reason"
	"lanyard/mgmt/store"
	"lanyard/sshd/token"
)

const (
	codePath    = "/code/enter"
	foreignPath = "/code/go-on"

	handleSize = 4 // letters of a code that find its sign-in; the others are the secret
	// pollEvery is how often a machine may ask how a sign-in goes (RFC 8628 §3.5).
	pollEvery = 2 * time.Second
	// maxWaiting sign-ins with a code per machine.
	maxWaiting = 100
)

// CodePath is where the page is that asks for a code.
func (p *Provider) CodePath() string { return p.base + codePath }

// ownCallback is where the provider sends the answers of the sign-ins that it runs itself. No browser gets there.
func (p *Provider) ownCallback() string { return p.issuer + "/code/answer" }

func clientOf(k store.Kind) string {
	switch k {
	case store.KindDevice:
		return DeviceClientID
	case store.KindSession:
		return SessionClientID
	}
	return ClientID
}

// scopes of a sign-in: one for a session is never refreshed.
func (p *Provider) scopes(k store.Kind) []string {
	all := p.Public().Scopes
	if k == store.KindSession {
		all = slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == "offline_access" })
	}
	return all
}

func (p *Provider) pushDevice(ctx context.Context, start api.LoginStart, peer *store.Peer) (*api.LoginStarted, error) {
	if peer == nil {
		return nil, badRequest("A sign-in with a code needs a machine that is enrolled; enrol it with a setup key first.")
	}
	secret := api.NewID("") + api.NewID("")
	f := store.Flow{Kind: store.KindDevice, Peer: peer.ID, Start: start, Nonce: token.Nonce(start.Salt, start.Key), Secret: browserHash(secret)}
	f.Start.MachineName = peer.Name
	if err := p.addCode(ctx, &f); err != nil {
		return nil, err
	}
	if err := p.NoteOrigin(ctx, start, peer.ID); err != nil {
		return nil, err
	}
	return &api.LoginStarted{
		AuthURL: p.URL + api.PageCode, ShortCode: f.ShortCode, ExpiresIn: api.Secs(flowLife), Interval: api.Secs(pollEvery),
		DeviceCode: f.ID + "." + secret, TokenURL: p.issuer + "/token", ClientID: DeviceClientID,
	}, nil
}

// PushSession takes a sign-in for one SSH session on peer. What is signed is computed here, from what peer may say only.
func (p *Provider) PushSession(ctx context.Context, start api.SessionStart, peer store.Peer) (*api.SessionStarted, error) {
	if err := checkAccount(start.LocalUser); err != nil {
		return nil, err
	}
	switch {
	case len(start.SessionID) < 16 || len(start.SessionID) > 64:
		return nil, badRequest("The id of the SSH session must have 16 to 64 bytes.")
	case len(start.Salt) != token.SaltSize:
		return nil, badRequest("The salt must have %d bytes.", token.SaltSize)
	case !slices.ContainsFunc(peer.HostKeys, func(k api.SignedKey) bool { return bytes.Equal(k.Key, start.HostKey) }):
		return nil, badRequest("The host key is not one of the machine's.")
	case start.Source == peer.ID:
		return nil, badRequest("A machine does not connect to itself.")
	}
	source, err := p.Store.Peer(ctx, start.Source)
	if errors.Is(err, store.ErrNotFound) {
		return nil, badRequest("The machine that the connection comes from is not enrolled.")
	}
	if err != nil {
		return nil, err
	}
	f := store.Flow{Kind: store.KindSession, Peer: peer.ID, Session: &start}
	f.Start.Account, f.Start.MachineName = start.LocalUser, source.Name
	f.Nonce = token.SessionNonce(start.SessionID, start.HostKey, start.LocalUser, peer.ID, source.ID, start.Salt)
	if err := p.addCode(ctx, &f); err != nil {
		return nil, err
	}
	return &api.SessionStarted{
		ID: f.ID, URL: p.URL + api.PageCode, Code: f.ShortCode, ExpiresIn: api.Secs(flowLife), Interval: api.Secs(pollEvery),
	}, nil
}

// addCode stores f under a code that no other sign-in has.
func (p *Provider) addCode(ctx context.Context, f *store.Flow) error {
	n, err := p.Store.WaitingCodes(ctx, f.Peer)
	if err != nil {
		return err
	}
	if n >= maxWaiting {
		return &api.Error{Status: http.StatusTooManyRequests, Code: string(reason.TooMany), Message: reason.TooMany.Sentence()}
	}
	f.ID, f.Verifier, f.Expires = api.NewID("l")+api.NewID(""), oauth2.GenerateVerifier(), p.Now().Add(flowLife)
	f.Start.RedirectURI, f.Start.State, f.Start.CodeChallenge = p.ownCallback(), f.ID, oauth2.S256ChallengeFromVerifier(f.Verifier)
	for range 20 { // of 160,000 handles
		f.ShortCode = shortCode()
		f.Handle = f.ShortCode[:handleSize]
		if err = p.Store.AddFlow(ctx, *f); !errors.Is(err, store.ErrExists) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("store the sign-in: %w", err)
	}
	return nil
}

// codeCookie is the name of the page's own "flow", which ties the form to the browser that was shown it.
const codeCookie = "code"

// askCode is the page where a code is typed. The form is good only in the browser that loaded the page: another site
// cannot send a code of its choice.
func (p *Provider) askCode(w http.ResponseWriter, r *http.Request, wrong string) {
	cookie := api.NewID("") + api.NewID("")
	if c, err := r.Cookie(p.cookieName(codeCookie)); err == nil && c.Value != "" {
		cookie = c.Value
	}
	p.setCookie(w, codeCookie, cookie)
	status := http.StatusOK
	if wrong != "" {
		status = http.StatusNotFound
	}
	p.render(w, status, "code.html", codePage{Action: p.base + codePath, CSRF: p.csrf(codeCookie, cookie), Wrong: wrong})
}

// takeCode looks for the sign-in that a typed code belongs to. The first half finds it and counts the try, so that each
// sign-in bears MaxTries and no more, wherever they come from; the second half is compared.
func (p *Provider) takeCode(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	c, err := r.Cookie(p.cookieName(codeCookie))
	if err != nil || !hmac.Equal([]byte(r.PostFormValue("csrf")), []byte(p.csrf(codeCookie, c.Value))) {
		p.page(w, http.StatusForbidden, "The form does not belong to this browser; open the page again and type the code.")
		return
	}
	try := attempt{from: remote(r)}
	if p.tooSoon(w, p.typed.begin(try)) {
		return
	}
	const wrong = "There is no such code. It may be mistyped, used, or have run out after 5 minutes or 5 tries; check it, or start again where it is shown."
	code, ok := normalCode(r.PostFormValue("code"))
	if !ok {
		p.askCode(w, r, wrong)
		return
	}
	f, err := p.Store.TypeCode(ctx, code[:handleSize])
	if errors.Is(err, store.ErrNotFound) {
		p.askCode(w, r, wrong)
		return
	}
	if err != nil {
		p.fail(w, err)
		return
	}
	if subtle.ConstantTimeCompare([]byte(code), []byte(f.ShortCode)) != 1 {
		if f.Tries == store.MaxTries {
			p.Log.Warn("a code was typed wrongly too often and is dead", "machine", f.Start.MachineName, "account", f.Start.Account, "from", try.from)
			if err := p.Store.FinishFlow(ctx, f.ID, "!"+string(reason.TooMany)); err != nil && !errors.Is(err, store.ErrNotFound) {
				p.fail(w, err)
				return
			}
		}
		p.askCode(w, r, wrong)
		return
	}
	p.typed.succeeded(try)
	p.ask(w, r, f)
}

// normalCode takes a code as people type it: any case, with or without its dash or spaces.
func normalCode(s string) (string, bool) {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == ' ' || r == '-' || r == '\t':
			return -1
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		}
		return r
	}, s)
	if len(s) != 2*handleSize || strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune(codeLetters, r) }) {
		return "", false
	}
	return s[:handleSize] + "-" + s[handleSize:], true
}

// finishCode keeps the authorization code for the one who asked, once the person is known. Where the machine is somebody
// else's, they are asked once more.
func (p *Provider) finishCode(w http.ResponseWriter, r *http.Request, f store.Flow, req storage.AuthRequest, warned bool) {
	ctx := r.Context()
	if !req.LoggedIn {
		p.dex.ServeHTTP(w, r) // which asks for the password again
		return
	}
	blocked, err := p.blocked(r, req.Claims.UserID, req.ConnectorID)
	if err != nil {
		p.fail(w, err)
		return
	}
	if blocked {
		p.refusedBlocked(r, f, req)
		if err := p.Store.FinishFlow(ctx, f.ID, "!"+string(reason.Blocked)); err != nil {
			p.page(w, http.StatusGone, goneLink)
			return
		}
		p.page(w, http.StatusForbidden, reason.Blocked.Sentence())
		return
	}
	page, err := p.describe(ctx, f)
	if err != nil {
		p.fail(w, err)
		return
	}
	subject, err := tokens.GenSubject(req.Claims.UserID, req.ConnectorID)
	if err != nil {
		p.fail(w, err)
		return
	}
	if person := (api.UserRef{Issuer: p.issuer, Subject: subject}); !page.owner.IsZero() && page.owner != person && !warned {
		c, err := r.Cookie(p.cookieName(f.ID)) // own has checked it
		if err != nil {
			p.page(w, http.StatusForbidden, goneLink)
			return
		}
		page.Action, page.CSRF = p.base+foreignPath, p.csrf(f.ID+foreignPath, c.Value)
		p.render(w, http.StatusOK, "foreign.html", foreignPage{confirmPage: page, Person: req.Claims.Email, Query: r.URL.RawQuery})
		return
	}
	rec := &recorder{header: http.Header{}}
	p.dex.ServeHTTP(rec, r)
	to, err := url.Parse(rec.header.Get("Location"))
	if err != nil || !strings.HasPrefix(to.String(), f.Start.RedirectURI+"?") || to.Query().Get("state") != f.Start.State || to.Query().Get("code") == "" {
		p.fail(w, fmt.Errorf("the provider did not finish the login: status %d", rec.status))
		return
	}
	if err := p.Store.FinishFlow(ctx, f.ID, to.Query().Get("code")+" "+subject); err != nil {
		p.page(w, http.StatusGone, goneLink)
		return
	}
	if f.Kind == store.KindSession {
		p.page(w, http.StatusOK, "You are signed in for this one connection. Go back to it and press Enter; you can close this page.")
		return
	}
	p.page(w, http.StatusOK, "You are signed in on "+page.Machine+", where it goes on by itself; you can close this page.")
}

// goOn is the button of somebody who signs in on a machine of somebody else's after all.
func (p *Provider) goOn(w http.ResponseWriter, r *http.Request) {
	q, err := url.ParseQuery(r.PostFormValue("query"))
	if err != nil {
		p.page(w, http.StatusBadRequest, goneLink)
		return
	}
	f, ok := p.own(w, r, q.Get("req"))
	if !ok {
		return
	}
	c, err := r.Cookie(p.cookieName(f.ID))
	if err != nil || f.Kind == store.KindBrowser || !hmac.Equal([]byte(r.PostFormValue("csrf")), []byte(p.csrf(f.ID+foreignPath, c.Value))) {
		p.page(w, http.StatusForbidden, goneLink)
		return
	}
	req, err := p.db.GetAuthRequest(r.Context(), q.Get("req"))
	if err != nil {
		p.page(w, http.StatusGone, goneLink)
		return
	}
	inner, err := http.NewRequestWithContext(r.Context(), http.MethodGet, p.base+"/auth?"+q.Encode(), nil)
	if err != nil {
		p.fail(w, err)
		return
	}
	inner.Header.Set("Cookie", r.Header.Get("Cookie"))
	p.finishCode(w, inner, f, req, true)
}

// Errors of those who wait for a sign-in.
var (
	errCodeGone = &api.Error{Status: http.StatusGone, Code: string(reason.SignInExpired), Message: reason.SignInExpired.Sentence()}
	errCodeDead = &api.Error{Status: http.StatusGone, Code: string(reason.TooMany), Message: "The code was typed wrongly too often and is dead; start again for a new one."}
)

// MayTakeLogin checks that a device code is of a sign-in that waits, and that wireKey asked for it.
func (p *Provider) MayTakeLogin(ctx context.Context, deviceCode string, wireKey []byte) error {
	_, err := p.waiting(ctx, deviceCode, wireKey)
	return err
}

func (p *Provider) waiting(ctx context.Context, deviceCode string, wireKey []byte) (store.Flow, error) {
	id, secret, _ := strings.Cut(deviceCode, ".")
	f, err := p.Store.Flow(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && (f.Kind != store.KindDevice || subtle.ConstantTimeCompare(browserHash(secret), f.Secret) != 1):
		return f, errCodeGone
	case err == nil && !bytes.Equal(wireKey, f.Start.Key):
		return f, &api.Error{Status: http.StatusForbidden, Code: string(reason.KeyMismatch), Message: "This sign-in was begun for another key."}
	}
	return f, err
}

// TakeLogin gives the tokens of a sign-in with a code to the one who asked for it: who has the device code and has just
// proven to have the key. Pending until the person has signed in; once.
func (p *Provider) TakeLogin(ctx context.Context, deviceCode string, wireKey []byte) (*api.LoginCodeTokens, error) {
	f, err := p.waiting(ctx, deviceCode, wireKey)
	if err != nil {
		return nil, err
	}
	t, err := p.redeem(ctx, f)
	if err != nil || t == nil {
		return &api.LoginCodeTokens{Pending: err == nil}, err
	}
	return &api.LoginCodeTokens{IDToken: t.ID, RefreshToken: t.Refresh}, nil
}

// TakeSession gives the token of a sign-in for one SSH session to the machine that asked for it.
func (p *Provider) TakeSession(ctx context.Context, q api.SessionPoll, peer store.Peer) (*api.SessionToken, error) {
	f, err := p.Store.Flow(ctx, q.ID)
	if err == nil && (f.Kind != store.KindSession || f.Peer != peer.ID) {
		err = store.ErrNotFound
	}
	switch {
	case errors.Is(err, store.ErrNotFound) && !q.Cancel:
		return nil, errCodeGone
	case errors.Is(err, store.ErrNotFound):
		return &api.SessionToken{}, nil
	case err != nil:
		return nil, err
	case q.Cancel:
		if err := p.Store.TakeFlow(ctx, f.ID); !errors.Is(err, store.ErrNotFound) {
			return &api.SessionToken{}, err
		}
		return &api.SessionToken{}, nil
	}
	t, err := p.redeem(ctx, f)
	if err != nil || t == nil {
		return &api.SessionToken{Pending: err == nil}, err
	}
	claims, err := token.Peek(t.ID)
	if err != nil {
		return nil, fmt.Errorf("read the token that was just issued: %w", err)
	}
	err = p.Store.Change(ctx, &audit.Event{
		Type: audit.Login, Issuer: claims.Issuer, Subject: claims.Subject, User: claims.Email, Source: f.Session.Source, LocalUser: f.Session.LocalUser,
		Target: peer.Name, Detail: "for one session",
	}, func(q *store.Queries) error {
		return q.SignedIn(ctx, api.UserRef{Issuer: claims.Issuer, Subject: claims.Subject})
	})
	if err != nil {
		return nil, err
	}
	return &api.SessionToken{IDToken: t.ID}, nil
}

// issued is the token endpoint's answer.
type issued struct {
	ID      string `json:"id_token"`
	Refresh string `json:"refresh_token"`
	Error   string `json:"error"`
}

// redeem trades the code that the browser's part left for tokens, once; nil while there is none.
func (p *Provider) redeem(ctx context.Context, f store.Flow) (*issued, error) {
	if f.Code == "" {
		return nil, nil //nolint:nilnil // pending
	}
	if err := p.Store.TakeFlow(ctx, f.ID); errors.Is(err, store.ErrNotFound) {
		return nil, errCodeGone
	} else if err != nil {
		return nil, err
	}
	if refused, ok := strings.CutPrefix(f.Code, "!"); ok {
		if refused == string(reason.TooMany) {
			return nil, errCodeDead
		}
		return nil, &api.Error{Status: http.StatusForbidden, Code: refused, Message: reason.Code(refused).Sentence()}
	}
	code, subject, _ := strings.Cut(f.Code, " ")
	form := url.Values{
		"grant_type": {"authorization_code"}, "client_id": {clientOf(f.Kind)}, "code": {code},
		"redirect_uri": {f.Start.RedirectURI}, "code_verifier": {f.Verifier},
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.base+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	rec := &recorder{header: http.Header{}, body: &bytes.Buffer{}}
	p.token(rec, r)
	var t issued
	if err := json.Unmarshal(rec.body.Bytes(), &t); err != nil {
		return nil, fmt.Errorf("the provider gave no token: status %d", rec.status)
	}
	switch {
	case t.Error == "invalid_grant": // blocked, or their sign-ins were ended meanwhile
		if u, err := p.Store.UserByRef(ctx, api.UserRef{Issuer: p.issuer, Subject: subject}); err == nil && u.Blocked {
			return nil, &api.Error{Status: http.StatusForbidden, Code: string(reason.Blocked), Message: reason.Blocked.Sentence()}
		}
		return nil, errCodeGone
	case t.ID == "":
		return nil, fmt.Errorf("the provider gave no token: status %d %.40q", rec.status, t.Error)
	}
	return &t, nil
}
