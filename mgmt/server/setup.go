package server

import (
	"context"
	"html/template"
	"net/http"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/idp"
	"lanyard/mgmt/store"
)

// setup makes the first administrator with the one-time secret.
func (s *Server) setup(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	var req api.SetupRequest
	if err := decode(body, &req); err != nil {
		return err
	}
	u, err := s.firstAdmin(r.Context(), req)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.Me{UserRef: u.UserRef, ID: u.ID, Email: u.Email, Name: u.Name, Admin: u.Admin})
	return nil
}

func (s *Server) firstAdmin(ctx context.Context, req api.SetupRequest) (store.User, error) {
	setup, err := s.store.Setup(ctx)
	if err != nil {
		return store.User{}, err
	}
	if !setup.Matches(req.Secret, s.now()) {
		return store.User{}, refuse(http.StatusForbidden,
			"The setup secret is wrong, used or older than an hour; restart lanyard-mgmt for a new one, or run 'lanyard-mgmt user add EMAIL --admin'.")
	}
	ev := &audit.Event{Type: audit.AdminChange, What: "setup"}
	u, err := s.idp.AddUser(ctx, idp.NewUser{Email: req.Email, Name: req.Name, Password: req.Password, Admin: true}, ev)
	if err != nil {
		return u, err
	}
	s.control.Touch()
	return u, s.store.PutSetup(ctx, "", time.Time{})
}

var setupTemplate = template.Must(template.New("setup").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Set up Lanyard</title><link rel="stylesheet" href="/dex/static/main.css"></head><body><main>
<h1>Set up Lanyard</h1>
{{if .Done}}<p>{{.Done}} is the first administrator. Join a machine with:</p><p><code>lanyard up {{.Join}}</code></p>
{{else}}{{if .Problem}}<p class="dex-error-box">{{.Problem}}</p>{{end}}
<form method="post" action="/setup"><input type="hidden" name="secret" value="{{.Secret}}">
<label for="login">Email address</label><input required id="login" name="email" type="text" autocomplete="username" value="{{.Email}}">
<label for="name">Name</label><input id="name" name="name" type="text" autocomplete="name" value="{{.Name}}">
<label for="password">Password</label><input required id="password" name="password" type="password" autocomplete="new-password">
<button type="submit">Create the first administrator</button></form>{{end}}
</main></body></html>`))

type setupView struct{ Secret, Email, Name, Problem, Done, Join string }

// setupPage is the page behind the setup URL.
func (s *Server) setupPage(w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	v := setupView{Secret: r.URL.Query().Get("secret")}
	status := http.StatusOK
	if r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		v = setupView{Secret: r.PostFormValue("secret"), Email: r.PostFormValue("email"), Name: r.PostFormValue("name")}
		u, err := s.firstAdmin(r.Context(), api.SetupRequest{Secret: v.Secret, Email: v.Email, Name: v.Name, Password: r.PostFormValue("password")})
		if err != nil {
			e, fault := problem(err)
			if fault {
				s.log.Error("make the first administrator", "err", err)
			}
			status, v.Problem = e.Status, e.Message
		} else {
			v.Done, v.Join = u.Email, s.Join()
		}
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	return setupTemplate.Execute(w, v)
}
