//go:build linux

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lanyard/mgmt/api/client"
	"lanyard/platform/paths"
	"lanyard/service/keystore"
	"lanyard/service/login"
	"lanyard/sshd/token"
	"lanyard/tray/menu"
)

// What a person reads when what their sign-in is kept by is locked, gone or damaged: the real files and the real key
// store, with a token that is due for a refresh.
func TestWhatAPersonReadsWhenTheFilesOfASignInAreNotRight(t *testing.T) {
	const again = "Your sign-in cannot be kept any longer. Log in again."
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, p paths.Paths)
		icon  menu.Icon
		reads string
		click string
	}{
		{"locked key store", func(t *testing.T, p paths.Paths) { // sealed by a keychain, and none can be opened here
			change(t, secret(t, p), func(s string) string { return strings.Replace(s, `"key":"file"`, `"key":"keychain"`, 1) })
		}, menu.Attention, "Your keychain is locked, so your sign-in cannot be kept fresh. Unlock it, or renew the sign-in.", "Renew the sign-in"},
		{"key store gone", func(t *testing.T, p paths.Paths) { remove(t, filepath.Join(p.Login, "secret-key")) }, menu.Attention, again, "Renew the sign-in"},
		{"sealed file gone", func(t *testing.T, p paths.Paths) { remove(t, secret(t, p)) }, menu.Attention, again, "Renew the sign-in"},
		{"sealed file damaged", func(t *testing.T, p paths.Paths) {
			change(t, secret(t, p), func(s string) string { return s[:len(s)/2] })
		}, menu.Attention, again, "Renew the sign-in"},
		{"sealed file changed", func(t *testing.T, p paths.Paths) {
			change(t, secret(t, p), func(s string) string { return strings.Replace(s, `"box":"`, `"box":"AAAA`, 1) })
		}, menu.Attention, again, "Renew the sign-in"},
		{"key file damaged", func(t *testing.T, p paths.Paths) {
			key, _, _ := p.Identity(self)
			change(t, key, func(s string) string { return s[:len(s)/2] })
		}, menu.SignedOut, "Nobody is signed in", "Log in"},
		{"certificate damaged", func(t *testing.T, p paths.Paths) {
			_, cert, _ := p.Identity(self)
			change(t, cert, func(s string) string { return s[:len(s)/2] })
		}, menu.SignedOut, "Nobody is signed in", "Log in"},
		{"times damaged", func(t *testing.T, p paths.Paths) {
			_, _, fresh := p.Identity(self)
			change(t, fresh, func(string) string { return "not a time\n" })
		}, menu.SignedOut, "Nobody is signed in", "Log in"},
		{"provider refuses", func(*testing.T, paths.Paths) {}, menu.Attention, again, "Renew the sign-in"},
	} {
		t.Run(c.name, func(t *testing.T) {
			provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusBadRequest)
				w.Write([]byte(`{"error":"invalid_grant"}`))
			}))
			defer provider.Close()
			s := newStage(t)
			s.clock.at = time.Now() // the sign-in's own code goes by the real one
			p := paths.Find(paths.DefaultProfile)
			dueSignIn(t, p, provider.URL)
			c.spoil(t, p)
			s.tray.person = func(profile string) person { return newPerson(profile, nil, s.unsealed) }
			s.mu.Lock()
			s.me.who = "in the files" // nothing of the stage's own
			s.mu.Unlock()
			s.self = self
			s.play()
			s.sees(c.icon, c.reads)
			s.settle()
			s.sees(c.icon, c.reads)
			if !s.row(c.click) {
				t.Errorf("%q is not there to click", c.click)
			}
		})
	}
}

// dueSignIn is a sign-in of a day whose token is forty minutes old.
func dueSignIn(t *testing.T, p paths.Paths, provider string) {
	t.Helper()
	key, salt, err := token.NewKey(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	wire, err := wireOf(key)
	if err != nil {
		t.Fatal(err)
	}
	issued := time.Now().Add(-40 * time.Minute)
	bound := idToken(t, "ann@example.com", token.Nonce(salt, wire), issued)
	claims, err := token.Peek(bound)
	if err != nil {
		t.Fatal(err)
	}
	l := &login.Login{Login: client.Login{Key: key, Salt: salt, Bound: bound}, Claims: claims, Record: login.Record{
		Server: provider, TokenURL: provider + "/token", ClientID: "lanyard", RefreshToken: "r", Ends: issued.Add(24 * time.Hour),
	}}
	if err := l.Save(p, keystore.Open(p.Login, nil, nil), self, issued); err != nil {
		t.Fatal(err)
	}
}

func secret(t *testing.T, p paths.Paths) string {
	t.Helper()
	name := filepath.Join(p.Login, "secret-"+self)
	if _, err := os.Stat(name); err != nil {
		t.Fatal(err)
	}
	return name
}

func change(t *testing.T, name string, how func(string) string) {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	now := how(string(raw))
	if now == string(raw) {
		t.Fatalf("%s is as it was", name)
	}
	if err := os.WriteFile(name, []byte(now), 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}

// Without a keychain the key lies in a file, and the person is told so once it does.
func TestWithoutAKeychainThePersonIsTold(t *testing.T) {
	s := newStage(t)
	s.clock.at = time.Now()
	p := paths.Find(paths.DefaultProfile)
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		remove(t, filepath.Join(p.Login, "secret-key")) // the next secret needs another key
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"access_token":"a","token_type":"bearer","refresh_token":"newer"}`))
	}))
	defer provider.Close()
	dueSignIn(t, p, provider.URL)
	s.tray.person = func(profile string) person { return newPerson(profile, nil, s.unsealed) }
	s.mu.Lock()
	s.me.who = "in the files"
	s.mu.Unlock()
	s.self = self
	s.play()
	until(t, time.Minute, func() error {
		if n, body := s.told("Your sign-in is kept without a keychain"); n != 1 || !strings.Contains(body, "There is no keychain here") || !strings.Contains(body, p.Login) {
			return fmt.Errorf("told %d times: %q", n, body)
		}
		return nil
	})
}
