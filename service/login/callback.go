package login

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
)

// callback is the loopback listener that the browser is sent back to (RFC 8252 §7.3). It serves one path on
// 127.0.0.1, accepts one answer that carries its state, and shows constant pages: nothing that came from outside is
// ever put into one.
type callback struct {
	state  string
	issuer string
	host   string // 127.0.0.1:PORT, as the browser must say
	srv    *http.Server
	got    chan answer

	mu   sync.Mutex
	used bool // guarded by mu: the one answer came

	shown chan struct{} // closed once the page that answers it is written
}

// answer is what the provider sent, and where to say how the login ended.
type answer struct {
	code string
	err  error
	end  chan<- error
}

// Errors of a callback.
var (
	errDenied = errors.New("the sign-in was refused or cancelled in the browser; run 'lanyard login' to try again")
	errMixUp  = errors.New("the answer came from another identity provider than the one that was asked; nothing was accepted")
	// errBlocked is the network's own provider's word about who gave the right password.
	errBlocked = &api.Error{Status: http.StatusForbidden, Code: string(reason.Blocked), Message: reason.Blocked.Sentence()}
)

func listen(state, issuer string) (*callback, error) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the browser's answer on 127.0.0.1: %w", err)
	}
	c := &callback{state: state, issuer: issuer, host: ln.Addr().String(), got: make(chan answer, 1), shown: make(chan struct{})}
	c.srv = &http.Server{
		Handler:           c,
		ReadHeaderTimeout: 5 * time.Second,
		MaxHeaderBytes:    32 << 10, // codes are short; a browser's cookies for 127.0.0.1 need not be
	}
	go func() { _ = c.srv.Serve(ln) }() // ends with close; without it, the wait for the browser ends at its deadline
	return c, nil
}

func (c *callback) url() string { return "http://" + c.host + "/callback" }

// close lets a page that is being written arrive.
func (c *callback) close() {
	c.mu.Lock()
	used := c.used
	c.mu.Unlock()
	for limit := time.After(pageLimit); used; {
		select {
		case a := <-c.got: // nobody waits for it any more
			a.end <- errors.New("the sign-in has ended")
		case <-c.shown:
			used = false
		case <-limit:
			used = false
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if c.srv.Shutdown(ctx) != nil {
		c.srv.Close()
	}
}

// pageLimit is how long the page may take to be written once it is known.
const pageLimit = 10 * time.Second

// endLimit is how long the browser's page waits for the rest of the login.
const endLimit = 30 * time.Second

func (c *callback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Connection", "close")
	// Another name that leads to 127.0.0.1 is somebody's page reaching in (DNS rebinding).
	if r.Host != c.host || r.URL.Path != "/callback" {
		page(w, http.StatusNotFound, "There is nothing here.")
		return
	}
	if r.Method != http.MethodGet {
		page(w, http.StatusMethodNotAllowed, "There is nothing here.")
		return
	}
	q := r.URL.Query()
	// Whoever does not know the state does not end the login either; it goes on waiting.
	if len(q["state"]) != 1 || subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(c.state)) != 1 {
		page(w, http.StatusBadRequest, "This address belongs to another sign-in. You can close this tab.")
		return
	}
	c.mu.Lock()
	first := !c.used
	c.used = true
	c.mu.Unlock()
	if !first {
		page(w, http.StatusGone, "This sign-in was used already. You can close this tab.")
		return
	}
	defer close(c.shown)
	end := make(chan error, 1)
	a := answer{code: q.Get("code"), end: end}
	switch iss, sent := q["iss"]; {
	case sent && (len(iss) != 1 || iss[0] != c.issuer): // RFC 9207 §2.4
		a.err = errMixUp
	case q.Has("error"): // RFC 6749 §4.1.2.1; its description is foreign text and not repeated
		a.err = errDenied
		if code := q.Get("error"); code != "access_denied" {
			a.err = fmt.Errorf("the identity provider answered %.40q; run 'lanyard login' to try again", code)
		} else if q.Get(api.ParamReason) == string(reason.Blocked) {
			a.err = errBlocked
		}
	case len(q["code"]) != 1 || a.code == "":
		a.err = errors.New("the identity provider's answer had no code; run 'lanyard login' to try again")
	}
	c.got <- a
	select {
	case err := <-end:
		if err == nil {
			page(w, http.StatusOK, "You are signed in; you can close this tab.")
			return
		}
		if errors.Is(err, errBlocked) {
			page(w, http.StatusForbidden, reason.Blocked.Sentence()+" You can close this tab.")
			return
		}
	case <-time.After(endLimit):
	case <-r.Context().Done():
	}
	page(w, http.StatusBadRequest, "The sign-in did not succeed; the program that asked for it says why. You can close this tab.")
}

// style of the pages. The policy names its hash: nothing else may style or run in them.
const style = `:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;display:grid;place-content:center;` +
	`min-height:90vh;margin:0;padding:0 1rem;text-align:center}p{font-size:1.25rem;max-width:32rem}b{color:#15803d;font-size:3rem}`

// page writes a constant sentence; a good one has a tick.
func page(w http.ResponseWriter, status int, sentence string) {
	tick := ""
	if status == http.StatusOK {
		tick = "<b aria-hidden=\"true\">&#10003;</b>"
	}
	sum := sha256.Sum256([]byte(style))
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")
	h.Set("Content-Type", "text/html; charset=utf-8")
	text := fmt.Sprintf("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">"+
		"<title>Lanyard</title><style>%s</style><div>%s<p>%s</p></div></html>\n", style, tick, sentence)
	h.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
	_ = http.NewResponseController(w).Flush() // all of it is on its way now
}
