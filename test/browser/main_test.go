package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A provider in the shape of the real one: confirm page with a cookie, login form, redirect to a listener elsewhere.
func TestBrowserGoesThroughALogin(t *testing.T) {
	var code string
	loopback := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		code = r.FormValue("code")
		fmt.Fprint(w, "<p>You are signed in.</p>")
	}))
	defer loopback.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /auth", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "flow", Value: "7", Path: "/", HttpOnly: true})
		fmt.Fprint(w, `<p>Code <b>ABCD-1234</b></p><form method="post" action="/confirm"><input type="hidden" name="csrf" value="x"><button name="do" value="yes">Go on</button><button name="do" value="no">No</button></form>`)
	})
	mux.HandleFunc("POST /confirm", func(w http.ResponseWriter, r *http.Request) {
		if c, err := r.Cookie("flow"); err != nil || c.Value != "7" || r.FormValue("csrf") != "x" || r.FormValue("do") != "yes" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		http.Redirect(w, r, "/login?s=1", http.StatusSeeOther)
	})
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			if r.FormValue("login") == "ann@example.com" && r.FormValue("password") == "secret pass" {
				http.Redirect(w, r, loopback.URL+"/callback?code=c0de", http.StatusSeeOther)
				return
			}
		}
		fmt.Fprint(w, `<form method="post"><input name="login" type="text"><input name="password" type="password"><input type="submit" value="Log in"></form>`)
	})
	provider := httptest.NewServer(mux)
	defer provider.Close()

	secret := filepath.Join(t.TempDir(), "login")
	t.Setenv("DEMO_LOGIN_FILE", secret)
	for _, c := range []struct{ password, code, problem string }{
		{"secret pass", "c0de", ""},
		{"wrong", "", "did not accept"},
	} {
		code = ""
		if err := os.WriteFile(secret, []byte("ann@example.com\n"+c.password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		err := browse(&log, []string{provider.URL + "/auth"})
		if code != c.code || fmt.Sprint(err) != "<nil>" && !strings.Contains(err.Error(), c.problem) || (err == nil) != (c.problem == "") {
			t.Errorf("with the password %q: code %q, error %v\n%s", c.password, code, err, &log)
		}
		if !strings.Contains(log.String(), "ABCD-1234") {
			t.Errorf("the log lacks the page's short code: %s", &log)
		}
	}
}
