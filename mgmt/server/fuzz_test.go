package server_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/client"
	"lanyard/mgmt/api/proof"
	"lanyard/mgmt/server"
)

// sender sends what a fuzz target made up, and wants sentences for an answer, never a fault.
type sender struct {
	n     *network
	http  *http.Client
	admin *http.Client
}

func newSender(f *testing.F) *sender {
	n := start(f, func(c *server.Config) { c.Log = slog.New(slog.DiscardHandler) })
	return &sender{n, &http.Client{Timeout: time.Minute}, &http.Client{
		Timeout: time.Minute,
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(n.state, server.AdminSocket))
		}},
	}}
}

func (s *sender) send(t *testing.T, c *http.Client, method, url string, body []byte, h http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Skip()
	}
	for name := range h {
		req.Header.Set(name, h.Get(name))
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	e := &api.Error{}
	switch {
	case err != nil:
		t.Errorf("%s %s: %v", method, url, err)
	case res.StatusCode/100 == 5:
		t.Errorf("%s %s with %q: %s\n%s", method, url, body, res.Status, b)
	case res.StatusCode/100 == 4 && (json.Unmarshal(b, e) != nil || e.Message == ""):
		t.Errorf("%s %s with %q: %s without a sentence: %s", method, url, body, res.Status, b)
	}
}

// FuzzBodies sends bodies to what machines and people ask for, each with a proof by an enrolled machine's key, so that
// the body is read.
func FuzzBodies(f *testing.F) {
	routes := []string{
		api.RouteEnroll, api.RouteLogin, api.RouteLoginCode, api.RouteSession, api.RouteSessionCode, api.RouteSeen, api.RouteRenew,
		api.RouteLogout, api.RouteExplain, api.RouteSetup,
	}
	s := newSender(f)
	m := s.n.enrolled("web-1", true)
	add := func(route int, v any) {
		b, _ := json.Marshal(v)
		f.Add(byte(route), b)
	}
	add(0, m.request)
	add(1, api.LoginStart{Purpose: "login", Account: "ann", MachineName: "web-1", Key: []byte("x"), Salt: make([]byte, 32), RedirectURI: "http://127.0.0.1:9/"})
	for i := range routes {
		add(i, map[string]any{})
		add(i, []int{1})
		f.Add(byte(i), []byte(`{"name":"a","name":"b","NAME":null,"key":"AA==","user":{"issuer":"x"},"code":"BCDF-GHJK"}`))
	}
	f.Fuzz(func(t *testing.T, route byte, body []byte) {
		r := routes[int(route)%len(routes)]
		h := http.Header{}
		p, err := proof.Sign(m.Key, proof.Params{
			Method: http.MethodPost, URL: s.n.api.URL(r), Body: body, Subject: m.Subject, Now: time.Now(),
		})
		if err != nil {
			t.Fatal(err)
		}
		h.Set(api.HeaderMachine, p)
		s.send(t, s.http, http.MethodPost, s.n.api.URL(r), body, h)
	})
}

// FuzzAdminBodies sends bodies to the administrators' API, as one who may do everything.
func FuzzAdminBodies(f *testing.F) {
	routes := []struct{ method, path string }{
		{"POST", "users"},
		{"PUT", "policies/web"},
		{"POST", "setup-keys"},
		{"POST", "tokens"},
		{"POST", "explain"},
		{"POST", "groups/dev/members"},
		{"PATCH", "peers/web-1"},
		{"POST", "issuers/distrust"},
	}
	s := newSender(f)
	for i := range routes {
		f.Add(byte(i), []byte(`{}`))
		f.Add(byte(i), []byte(`{"from":["*"],"to":["tag:web"],"as":["root"],"name":"x","email":"ann@example.com","tags":["tag:web"]}`))
	}
	f.Add(byte(1), []byte(`{"from":["group:a\u0000"],"to":[""],"as":["{email.local}"],"max_session":"-1s","files":[{"path":"~/../x"}],"forward":["[::]:0"]}`))
	f.Add(byte(2), []byte(`{"tags":[null],"expires":"9999-12-31T23:59:59Z","uses":-1}`))
	f.Add(byte(3), []byte(`{"name":"","scopes":["all"],"expires_in":"1h"}`))
	f.Add(byte(7), []byte(`{"issuer":"http://127.0.0.1:1","kid":"x","key":{}}`))
	f.Fuzz(func(t *testing.T, route byte, body []byte) {
		r := routes[int(route)%len(routes)]
		s.send(t, s.admin, r.method, "http://x/api/admin/"+r.path, body, nil)
	})
}

// FuzzUp sends what a machine sends over the connection that it follows the map by.
func FuzzUp(f *testing.F) {
	add := func(u api.Up) {
		b, _ := json.Marshal(u)
		f.Add(b)
	}
	line, _ := json.Marshal(audit.Event{ID: "e1", Type: audit.SessionStart, Time: time.Now()})
	add(api.Up{Audit: []json.RawMessage{line, []byte(`{"id":1}`), []byte(`null`)}})
	add(api.Up{Ack: &api.Ack{Version: 1 << 62, Ended: []string{"s"}}})
	add(api.Up{Self: &api.SelfUpdate{OS: "linux\x1b[31m", Release: "1"}})
	f.Add([]byte(`{"unknown":{"issuer":"x","kid":"y"}}`))
	f.Add([]byte(`{"self":{"endpoints":["[fe80::1%` + "\u0000" + `]:1","x"],"host_keys":[{"key":"AA=="}]}}`))
	s := newSender(f)
	m := s.n.enrolled("web-1", true)
	f.Fuzz(func(t *testing.T, b []byte) {
		if !json.Valid(b) {
			return // the stream's client writes values; half of one ends the connection, which FuzzBodies shows
		}
		var up api.Up
		if json.Unmarshal(b, &up) != nil {
			return
		}
		c, err := client.New(s.n.server.Join())
		if err != nil {
			t.Fatal(err)
		}
		st, err := c.Follow(t.Context(), m.Machine, api.Have{})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		first, err := st.Recv(t.Context())
		if err != nil || first.Map == nil || !ed25519.Verify(m.mapKey, api.MapMessage(first.Map.Map), first.Map.Sig) {
			t.Fatalf("%v, %v", first, err)
		}
		_ = st.Send(t.Context(), up)
	})
}
