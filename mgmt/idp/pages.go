package idp

import (
	"bytes"
	"embed"
	"errors"
	"html/template"
	"io/fs"
	"net/http"

	"github.com/dexidp/dex/storage"
	dexweb "github.com/dexidp/dex/web"

	"lanyard/mgmt/api"
	"lanyard/mgmt/store"
)

//go:embed web
var web embed.FS

// pages are our own, pages of dex's are replaced by name in assets.
var pages = template.Must(template.ParseFS(web, "web/confirm.html", "web/message.html", "web/code.html", "web/foreign.html"))

// assets are dex's pages with ours in front.
type assets struct{}

func (assets) Open(name string) (fs.File, error) {
	f, err := web.Open("web/" + name)
	if err != nil {
		return dexweb.FS().Open(name)
	}
	if fi, err := f.Stat(); err == nil && fi.IsDir() { // dex lists its folders: all names of ours are names of its own
		f.Close()
		return dexweb.FS().Open(name)
	}
	return f, nil
}

// confirmPage asks before the password form.
type confirmPage struct {
	Machine, Account, Owner, Code string // of a session: where the connection comes from, and as whom it arrives
	Server                        string // of a session: where it arrives
	Kind                          store.Kind
	New                           bool // the machine is about to be enrolled
	Action, CSRF                  string
	Connectors                    []storage.Connector

	owner api.UserRef
}

// codePage asks for a code.
type codePage struct{ Action, CSRF, Wrong string }

// foreignPage asks once more, where the machine belongs to somebody else than the person who signed in.
type foreignPage struct {
	confirmPage
	Person, Query string
}

type messagePage struct{ Message string }

func (p *Provider) render(w http.ResponseWriter, status int, name string, data any) {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, data); err != nil {
		p.Log.Error("draw a page", "page", name, "err", err)
		status = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

func (p *Provider) page(w http.ResponseWriter, status int, message string) {
	p.render(w, status, "message.html", messagePage{message})
}

func (p *Provider) fail(w http.ResponseWriter, err error) {
	var e *api.Error
	if errors.As(err, &e) {
		p.page(w, e.Status, e.Message)
		return
	}
	p.Log.Error("a sign-in failed", "err", err)
	p.page(w, http.StatusInternalServerError, "Something went wrong on the management server; its log has more.")
}
