//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/service/ipc"
	"lanyard/sshd/token"
	"lanyard/test/lab"
)

// Two people share a machine. Whatever one tries with the other's files, socket, port and links, they get nothing.
func TestTwoPeopleOnOneMachineStayApart(t *testing.T) {
	needsRoot(t)
	w := open(t, false)
	ctx := within(t, 12*time.Minute)
	m := w.peers[laptop]
	w.login("ann")
	if r := w.ssh("ann", "echo in for $LANYARD_USER"); r.out != "in for ann@example.com\n" {
		t.Fatalf("ann herself: %s", r)
	}
	key := w.identity(t, "ann")
	bobs := func(args ...string) result { return finish(m.SSH(within(t, 60*time.Second), "bob", "ssh", args...)) }

	t.Run("her key's path", func(t *testing.T) {
		r := bobs("-o", "BatchMode=yes", "-i", key, "-o", "CertificateFile="+key+"-cert.pub", w.target, "true")
		if r.code != 255 || !strings.Contains(r.err, "Permission denied") {
			t.Errorf("%s", r)
		}
		for _, file := range []string{key, key + "-cert.pub", filepath.Dir(key)} {
			if out, err := m.Output(ctx, "bob", "ls", file); err == nil {
				t.Errorf("bob sees %s: %q", file, out)
			}
		}
		// Where he can read the path of his own sign-in, ssh works: it is not that it never would.
		w := w.on(t)
		w.login("bob")
		own := w.identity(t, "bob")
		if r := bobs("-i", own, "-o", "CertificateFile="+own+"-cert.pub", w.target, "echo for $LANYARD_USER"); r.out != "for bob@example.com\n" {
			t.Errorf("bob with his own: %s", r)
		}
	})
	t.Run("her certificate", func(t *testing.T) {
		cert, err := os.ReadFile(m.Path(key + "-cert.pub"))
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Write("/tmp/anns-cert.pub", "bob", 0o600, cert); err != nil {
			t.Fatal(err)
		}
		if err := m.Run(ctx, "bob", w.lab.Program("hostile"), "forge", "/tmp/anns-cert.pub", "/tmp/forged"); err != nil {
			t.Fatal(err)
		}
		own := w.identity(t, "bob")
		for name, c := range map[string][]string{
			"with his key": {"-i", own, "-o", "CertificateFile=/tmp/anns-cert.pub"},
			"signed anew":  {"-i", "/tmp/forged", "-o", "CertificateFile=/tmp/forged-cert.pub"},
		} {
			// The other addresses of the drop-in would add his own good certificate.
			addr, err := w.peers[web].Overlay(ctx)
			if err != nil {
				t.Fatal(err)
			}
			c = append([]string{"-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no"}, append(c, w.as+"@"+addr, "echo in for $LANYARD_USER")...)
			if r := bobs(c...); r.code != 255 || r.out != "" {
				t.Errorf("%s: %s", name, r)
			}
		}
		if out, err := m.Lanyard(ctx, "bob", "logout"); err != nil {
			t.Fatal(out, err)
		}
	})
	t.Run("the service's socket", func(t *testing.T) {
		if out, err := m.Lanyard(ctx, "bob", "whoami"); err == nil || strings.Contains(out, "ann@") || !strings.Contains(err.Error(), "not signed in") {
			t.Errorf("whoami: %v %q", err, out)
		}
		if out, err := m.Lanyard(ctx, "bob", "logout", "--all"); err != nil || !strings.Contains(out, "not signed in") {
			t.Errorf("logout: %v %q", err, out)
		}
		ask := func(account, socket, method, path, body string) attempt {
			r := finish(m.Command(within(t, 60*time.Second), account, w.lab.Program("hostile"), "ask", socket, method, path, body))
			var a attempt
			if r.code != 0 {
				return attempt{Said: r.err}
			} else if err := json.Unmarshal([]byte(r.out), &a); err != nil {
				t.Fatalf("%s: %v", r, err)
			}
			return a
		}
		const machines = "/run/lanyard/default.sock"
		for _, c := range []struct{ method, path, body string }{
			{"POST", ipc.RouteDown, ""},
			{"POST", ipc.RouteUp, `{"allow_ssh":true}`},
			{"POST", ipc.RouteEnroll, `{}`},
			{"POST", ipc.RouteConnect + "?host=web-1&port=22", ""},
			{"POST", ipc.RouteExplain, `{"user":"ann@example.com","account":"deploy"}`},
		} {
			if a := ask("bob", machines, c.method, c.path, c.body); a.Accepted || !strings.HasPrefix(a.Said, "403") {
				t.Errorf("%s %s: %+v", c.method, c.path, a)
			}
		}
		// What is for everyone is for themselves: the kernel says who asks.
		if a := ask("bob", machines, "GET", ipc.RouteStatus, ""); !a.Accepted || !strings.Contains(a.Said, `"account":"bob"`) {
			t.Errorf("bob's status: %+v", a)
		}
		key, salt, err := token.NewKey(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		wire, err := ssh.NewPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		body, err := json.Marshal(api.LoginStart{
			Purpose: api.PurposeLogin, Account: "ann", MachineName: "elsewhere", Key: wire.Marshal(), Salt: salt,
			CodeChallenge: strings.Repeat("A", 43), RedirectURI: "http://127.0.0.1:9/callback", State: strings.Repeat("s", 22),
		})
		if err != nil {
			t.Fatal(err)
		}
		if a := ask("bob", machines, "POST", ipc.RouteLogin, string(body)); a.Accepted {
			link := regexp.MustCompile(`https://[^"]+`).FindString(a.Said)
			page, err := m.Output(ctx, "bob", "curl", "-sk", link)
			if err != nil || strings.Contains(page, "<strong>ann</strong>") || !strings.Contains(page, "<strong>bob</strong>") || !strings.Contains(page, "<strong>laptop</strong>") {
				t.Errorf("a sign-in in ann's name: %v\n%s", err, page)
			}
		} else {
			t.Errorf("a sign-in of bob's own that names ann: %+v", a)
		}

		// A service of her own, in a profile of her own.
		own, err := m.Start("anns-service", "ann", w.lab.Program("lanyard"), "--profile", "anns", "service", "run", "--userspace")
		if err != nil {
			t.Fatal(err)
		}
		defer own.Stop()
		socket := "/home/ann/.local/state/lanyard/anns.sock"
		if err := lab.Until(within(t, 60*time.Second), "ann's own service", func() error {
			if a := ask("ann", socket, "GET", ipc.RouteStatus, ""); !a.Accepted {
				return fmt.Errorf("%+v", a)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if a := ask("bob", socket, "GET", ipc.RouteStatus, ""); a.Accepted {
			t.Errorf("bob, at ann's own service: %+v", a)
		}
		// Also when she leaves every folder open: the socket itself is hers.
		if err := m.Run(ctx, "", "chmod", "-R", "a+rX", "/home/ann"); err != nil {
			t.Fatal(err)
		}
		if a := ask("bob", socket, "GET", ipc.RouteStatus, ""); a.Accepted {
			t.Errorf("bob, at ann's own service with open folders: %+v", a)
		}
	})
	t.Run("her port while she signs in", func(t *testing.T) {
		login := w.begin(t, "ann")
		port := login.port(t)
		for _, path := range []string{"/callback?code=bobs&state=guess", "/callback?code=bobs", "/callback?error=access_denied&state=guess", "/callback?code=a&state=x&state=y", "/"} {
			out, err := m.Output(ctx, "bob", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:"+port+path)
			if err != nil || !strings.HasPrefix(out, "4") {
				t.Errorf("%s was answered %q (%v)", path, out, err)
			}
		}
		if out, err := m.Output(ctx, "bob", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Host: evil.example", "http://127.0.0.1:"+port+"/callback?code=a&state=x"); err != nil || out != "404" {
			t.Errorf("by another name: %q %v", out, err)
		}
		// She is not disturbed.
		if r := w.browser(t, m, "ann", "ann", login.link(t)); r.code != 0 {
			t.Errorf("ann's browser: %s", r)
		}
		select {
		case <-login.Done():
		case <-time.After(90 * time.Second):
		}
		if login.Err() != nil || !strings.Contains(login.Text(), people["ann"].Email) {
			t.Errorf("ann's sign-in: %v\n%s", login.Err(), login.Text())
		}
	})
	t.Run("a link that would sign her in for his key", func(t *testing.T) {
		login := w.begin(t, "bob")
		link := login.link(t)
		page, err := m.Output(ctx, "ann", "curl", "-sk", link)
		if err != nil {
			t.Fatal(err)
		}
		code := regexp.MustCompile(`class="code">([^<]+)<`).FindStringSubmatch(page)
		if code == nil || !strings.Contains(page, "account <strong>bob</strong> on the machine <strong>laptop</strong>") || !strings.Contains(page, "Go on only if you started this yourself") {
			t.Fatalf("the page does not say who asks:\n%s", page)
		}
		if text := login.Text(); !strings.Contains(text, code[1]) {
			t.Errorf("bob's terminal does not show the page's code %s: %s", code[1], text)
		}
		// The provider's own addresses start nothing: there is no way around that page.
		for _, path := range []string{"/auth?client_id=lanyard&response_type=code&scope=openid&redirect_uri=http://127.0.0.1:1/callback&nonce=x", "/auth/local?client_id=lanyard", "/device", "/device/code"} {
			out, err := m.Output(ctx, "ann", "curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", w.mgmt.URL+"/dex"+path)
			if err != nil || !strings.HasPrefix(out, "4") {
				t.Errorf("%s was answered %q (%v)", path, out, err)
			}
		}
		// And from another machine the answer goes nowhere, even when somebody presses the button.
		if r := w.browser(t, w.peers[desk], "carol", "ann", link); r.code == 0 {
			t.Errorf("ann's browser on another machine delivered the answer: %s", r)
		}
		select {
		case <-login.Done():
			t.Errorf("bob's sign-in ended: %s", login.Text())
		default:
		}
	})
}

// signIn is `lanyard login` that has opened its browser and waits.
type signIn struct {
	*lab.Process
	m    *lab.Peer
	note string // file that the browser writes the link to
}

// begin starts a sign-in on the laptop whose browser only writes its link down.
func (w *world) begin(t *testing.T, account string) *signIn {
	t.Helper()
	m := w.peers[laptop]
	s := &signIn{m: m, note: m.Home(account) + "/link"}
	script := m.Home(account) + "/note-the-link"
	if err := m.Write(script, account, 0o755, []byte("#!/bin/sh\nprintf %s \"$1\" >"+s.note+".new && mv "+s.note+".new "+s.note+"\n")); err != nil {
		t.Fatal(err)
	}
	c := m.Command(context.Background(), account, w.lab.Program("lanyard"), "login")
	c.Env = append(c.Env, "BROWSER="+script, "DISPLAY=:0")
	var err error
	if s.Process, err = m.StartCommand("login-"+account, c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Kill() })
	return s
}

// link is what the browser was opened with.
func (s *signIn) link(t *testing.T) (link string) {
	t.Helper()
	if err := lab.Until(within(t, 60*time.Second), "the sign-in's link", func() error {
		b, err := os.ReadFile(s.m.Path(s.note))
		link = string(b)
		return err
	}); err != nil {
		t.Fatal(err, s.Text())
	}
	return link
}

// port is where the sign-in waits for the browser.
func (s *signIn) port(t *testing.T) string {
	t.Helper()
	s.link(t)
	out, err := s.m.Output(within(t, 60*time.Second), "", "ss", "-Hltnp", "src", "127.0.0.1")
	ports := regexp.MustCompile(`127\.0\.0\.1:(\d+).*"lanyard"`).FindAllStringSubmatch(out, -1)
	if err != nil || len(ports) != 1 {
		t.Fatalf("ports of the sign-in: %v\n%s", err, out)
	}
	return ports[0][1]
}

// browser opens link in the scripted browser of an account, with a person's password.
func (w *world) browser(t *testing.T, m *lab.Peer, account, person, link string) result {
	t.Helper()
	secret := m.Home(account) + "/.browser-login"
	if err := m.Write(secret, account, 0o600, []byte(people[person].Email+"\n"+people[person].Password+"\n")); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(m.Path(secret))
	c := m.Command(within(t, 90*time.Second), account, w.lab.Program("browser"), link)
	c.Env = append(c.Env, "DEMO_LOGIN_FILE="+secret, "DEMO_CA="+w.mgmt.CA())
	return finish(c)
}
