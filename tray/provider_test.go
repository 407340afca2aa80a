//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
	"lanyard/platform/release"
	"lanyard/platform/sessionbus/bustest"
	"lanyard/service/ipc"
	"lanyard/service/login"
	"lanyard/tray/menu"
)

// TestLogInGoesToTheProviderThatWasChosen is a network with a provider of its own and a company's: rows are clicked as
// the panel does, and the real sign-in runs up to the browser.
func TestLogInGoesToTheProviderThatWasChosen(t *testing.T) {
	home := place(t)
	var base string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case api.RouteConfig:
			json.NewEncoder(w).Encode(api.Config{Version: 1, MinVersion: 1, Issuers: []api.Issuer{
				{URL: base + "/dex", Name: "Lanyard", Embedded: true, ClientID: "lanyard"}, {URL: base + "/okta", Name: "Okta", ClientID: "company"},
			}})
		case "/okta/.well-known/openid-configuration":
			json.NewEncoder(w).Encode(map[string]string{
				"issuer": base + "/okta", "authorization_endpoint": base + "/okta/authorize", "token_endpoint": base + "/okta/token",
			})
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	base = server.URL
	d := newService(t, socketHere())
	asked := make(chan api.LoginStart, 4)
	refuse := false
	d.mu.Lock()
	d.url = base
	d.login = func(s api.LoginStart) (*api.LoginStarted, error) {
		asked <- s
		d.mu.Lock()
		defer d.mu.Unlock()
		if refuse {
			return nil, &api.Error{Status: http.StatusForbidden, Message: "This machine may start no sign-in; ask your administrator."}
		}
		return &api.LoginStarted{AuthURL: base + "/dex/login/x", TokenURL: base + "/dex/token", ClientID: "lanyard", ShortCode: "WXYZ-1234"}, nil
	}
	d.mu.Unlock()
	status := up(func(s *ipc.Status) {
		s.Server = base
		s.Issuers = []ipc.Issuer{{URL: base + "/dex", Name: "Lanyard"}, {URL: base + "/okta", Name: "Okta"}}
	})
	d.set(status)
	tabs := filepath.Join(home, "tabs")
	browser := filepath.Join(home, "browser")
	if err := os.WriteFile(browser, []byte("#!/bin/sh\nprintf %s \"$1\" >"+tabs+".new\nmv "+tabs+".new "+tabs+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	opened := func() (page *url.URL) {
		t.Helper()
		until(t, time.Minute, func() error {
			raw, err := os.ReadFile(tabs)
			if err == nil {
				page, err = url.Parse(string(raw))
			}
			return err
		})
		os.Remove(tabs)
		return page
	}
	addr, _ := bustest.Start(t)
	r := &running{
		t: t, addr: addr, home: home, panel: startPanel(t, addr), notes: startNotes(t, addr), conn: bustest.Connect(t, addr),
		env: []string{"BROWSER=" + browser},
	}
	r.start()
	r.name = r.panel.item(t)
	state := func(asking menu.SignIn) menu.Menu {
		s := status
		return menu.Build(menu.State{
			Now: time.Now(), Status: &s, Start: "sudo lanyard service install", Joining: "sudo lanyard up URL", Release: release.Version(), SignIn: asking,
			Settings: menu.Settings{Start: true, Notify: true, Visitors: true}, Profile: "default", Profiles: []string{"default"},
		})
	}
	signedOut := state(menu.SignIn{})
	r.is(signedOut)

	r.click("Okta")
	page := opened()
	q := page.Query()
	if !strings.HasPrefix(page.String(), base+"/okta/authorize?") || q.Get("client_id") != "company" || q.Get("nonce") == "" ||
		q.Get("prompt") != "select_account" || q.Get("code_challenge_method") != "S256" {
		t.Errorf("the browser was opened at %s", page)
	}
	r.is(state(menu.SignIn{Asking: true, URL: page.String()}))
	if s := <-asked; s.Issuer != base+"/okta" || s.CodeChallenge != "" {
		t.Errorf("the management server was told %+v, want where the key lies and no more", s)
	}
	r.click("Cancel the sign-in")
	r.is(signedOut)

	r.click("Lanyard")
	if page := opened(); page.String() != base+"/dex/login/x" {
		t.Errorf("the browser was opened at %s", page)
	}
	if s := <-asked; s.Issuer != base+"/dex" {
		t.Errorf("asked for %q", s.Issuer)
	}
	r.is(state(menu.SignIn{Asking: true, Code: "WXYZ-1234", URL: base + "/dex/login/x"}))
	r.click("Cancel the sign-in (the page must show WXYZ-1234)")
	r.is(signedOut)

	// A sign-in that cannot begin says why, and leaves everything to click.
	d.mu.Lock()
	refuse = true
	d.mu.Unlock()
	r.click("Lanyard")
	r.is(state(menu.SignIn{Trouble: "This machine may start no sign-in; ask your administrator."}))
	n := r.notes.titled(t, "You are not signed in")
	if n.body != "This machine may start no sign-in; ask your administrator." || len(n.actions) == 0 {
		t.Errorf("%+v", n)
	}
	until(t, time.Second, func() error {
		if _, err := os.ReadFile(tabs); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("a tab was opened: %v", err)
		}
		return nil
	})
}

// TestRefreshThatFailsIsExplained has the real sign-in refresh itself at servers that will not, up to the row in the menu.
func TestRefreshThatFailsIsExplained(t *testing.T) {
	for _, c := range []struct {
		name, provider string
		refusal        reason.Code
		reads          string
	}{
		{
			"the provider is down", "down", "", "Your sign-in could not be refreshed (dial tcp PROVIDER: connect: connection refused). It is tried again.",
		},
		{"the provider is ill", "ill", "", "Your sign-in could not be refreshed (the identity provider answered 503 Service Unavailable). It is tried again."},
		{"the provider refuses", "refuses", "", "Your sign-in cannot be kept any longer. Log in again."},
		{
			"the clock is five minutes off", "well", reason.ClockSkew,
			"The clocks of the machines or of the identity provider differ too much; set them and try again.",
		},
		{"the person is blocked", "well", reason.Blocked, "Your access was blocked; ask your administrator."},
	} {
		t.Run(c.name, func(t *testing.T) {
			home := place(t)
			fresh := make(chan string, 1)
			fail := func(w http.ResponseWriter, status int, body any) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(status)
				json.NewEncoder(w).Encode(body)
			}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == "/token" && c.provider == "ill":
					w.WriteHeader(http.StatusServiceUnavailable)
				case r.URL.Path == "/token" && c.provider == "refuses":
					fail(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
				case r.URL.Path == "/token":
					token := <-fresh
					fresh <- token
					fail(w, http.StatusOK, map[string]any{"access_token": "a", "token_type": "bearer", "id_token": token})
				case r.URL.Path == api.RouteSeen:
					fail(w, http.StatusForbidden, api.Error{Code: string(c.refusal), Message: c.refusal.Sentence()})
				default:
					http.NotFound(w, r)
				}
			}))
			defer server.Close()
			provider := httptest.NewServer(server.Config.Handler)
			defer provider.Close()
			if c.provider == "down" {
				provider.URL = "http://127.0.0.1:1" // where nobody listens, whatever other tests begin
			}
			at := strings.TrimPrefix(provider.URL, "http://")
			issued := time.Now().Add(-50 * time.Minute)
			l := signInWith(t, "ann@example.com", issued, login.Record{
				Server: server.URL, Issuer: "https://idp.example", ClientID: "lanyard", TokenURL: provider.URL + "/token",
				RefreshToken: "r", Ends: issued.Add(24 * time.Hour),
			})
			fresh <- idToken(t, "ann@example.com", l.Claims.Nonce, time.Now())
			d := newService(t, socketHere())
			d.url = server.URL
			d.set(up(nil))
			r := startTray(t, home)
			reads := strings.ReplaceAll(c.reads, "PROVIDER", at)
			r.shows(reads)
			until(t, time.Minute, func() error {
				if icon := r.icon(); icon != menu.Attention {
					return fmt.Errorf("the icon shows %s", icon)
				}
				return nil
			})
		})
	}
}
