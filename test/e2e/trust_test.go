//go:build linux

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/test/lab"
)

const work = "work" // runs somebody else's OpenID provider

// openSmall is a network of few machines: ann and bob on the laptop, carol at her desk, web-1 serves SSH. There are no
// policies yet.
func openSmall(t *testing.T, flags ...string) *world {
	t.Helper()
	needsRoot(t)
	ctx := within(t, 6*time.Minute)
	l, err := lab.Open(ctx, lab.Options{
		Bin: filepath.Join("..", "..", ".build", "bin"), Machines: []string{office, laptop, desk, web, work},
		Accounts: []string{"ann", "bob", "carol", "deploy"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(l.Logs(60))
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{t: t, lab: l, peers: map[string]*lab.Peer{}, as: "deploy", target: "deploy@" + web + ".lanyard.internal"}
	if w.mgmt, err = l.StartMgmt(ctx, office, flags...); err != nil {
		t.Fatal(err)
	}
	for name, p := range people {
		if err := w.mgmt.AddUser(ctx, p.Email, name, p.Password); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{web, laptop, desk} {
		w.peers[name], err = w.mgmt.Enrol(ctx, name, lab.Joining{Tags: []string{"tag:" + strings.TrimSuffix(name, "-1")}, SSH: name == web})
		if err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// ready waits until the machines know of the policies.
func (w *world) ready() {
	w.t.Helper()
	ctx := within(w.t, 2*time.Minute)
	err := w.peers[web].Serves(ctx)
	for _, name := range []string{laptop, desk} {
		err = errors.Join(err, w.peers[name].Knows(ctx, web))
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// fw runs nft on a machine.
func (w *world) fw(machine string, args ...string) {
	w.t.Helper()
	if err := w.lab.Machine(machine).Run(within(w.t, 60*time.Second), "", append([]string{"nft"}, args...)...); err != nil {
		w.t.Fatal(err)
	}
}

// mute drops what an account ("": all) of a machine sends to the management server; unmute lets it through again.
func (w *world) mute(machine, account string) {
	w.t.Helper()
	w.fw(machine, "add", "table", "inet", "mute")
	w.fw(machine, "add", "chain", "inet", "mute", "out", "{ type filter hook output priority 0; }")
	who := []string{}
	if account != "" {
		who = []string{"meta", "skuid", account}
	}
	w.fw(machine, append(append([]string{"add", "rule", "inet", "mute", "out"}, who...), "tcp", "dport", "8443", "drop")...)
}

// reject is mute that tells the account so at once.
func (w *world) reject(machine, account string) {
	w.t.Helper()
	w.fw(machine, "add", "table", "inet", "mute")
	w.fw(machine, "add", "chain", "inet", "mute", "out", "{ type filter hook output priority 0; }")
	w.fw(machine, "add", "rule", "inet", "mute", "out", "meta", "skuid", account, "tcp", "dport", "8443", "reject", "with", "tcp", "reset")
}

func (w *world) unmute(machine string) {
	w.t.Helper()
	w.fw(machine, "delete", "table", "inet", "mute")
}

// Who stops reporting loses the sessions within max_token_age and login_grace, from the server's side; who reports
// keeps them, without doing anything for it.
func TestSilentClientLosesItsSession(t *testing.T) {
	const age, grace = 10 * time.Second, 8 * time.Second
	w := openSmall(t, "--login-grace", grace.String())
	w.admin("policy", "add", "web", "--from", "everyone", "--to", "tag:web", "--as", "deploy", "--max-token-age", age.String())
	w.ready()
	w.login("ann")
	w.login("carol")
	silent, honest := w.open("ann"), w.open("carol")
	w.mute(laptop, "ann")
	muted := lab.StartWatch()
	defer muted.Stop()
	_, tree, err := silent.endsWithin(muted, age+grace+15*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ended %s after its last possible report; the bound is %s", tree, age+grace)
	if err := silent.check("silent"); err != nil {
		t.Error(err)
	}
	if tree < grace {
		t.Errorf("it ended after %s already", tree)
	}
	if !honest.alive() {
		t.Errorf("carol's session ended too:\n%s", honest.Text())
	}
	// Withdrawn for all sessions, until the next report.
	w.unmute(laptop)
	if r := w.ssh("ann", "echo", "back"); r.code != 0 || strings.TrimSpace(r.out) != "back" {
		t.Errorf("the first ssh after the silence: %s", r)
	}
	if err := lab.Until(within(t, 3*time.Minute), "carol's session to outlive the bound", func() error {
		if !honest.alive() {
			t.Fatalf("carol's session ended too:\n%s", honest.Text())
		}
		if open := time.Since(honest.opened); open < age+grace+5*time.Second {
			return errors.New("it is open for " + open.String())
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// A server machine that the management server cannot reach goes on for max_map_age, and for ever where a rule says so.
func TestCutOffServerAdmitsNobodyPastTheMapsAge(t *testing.T) {
	const age = 16 * time.Second
	w := openSmall(t, "--max-map-age", age.String())
	w.admin("policy", "add", "daily", "--from", "user:carol@example.com", "--to", "tag:web", "--as", "deploy")
	w.admin("policy", "add", "break-glass", "--from", "user:ann@example.com", "--to", "tag:web", "--as", "deploy", "--offline-forever")
	w.ready()
	w.login("ann")
	w.login("carol")
	daily, forever := w.open("carol"), w.open("ann")
	w.mute(web, "")
	cut := lab.StartWatch()
	defer cut.Stop()
	_, tree, err := daily.endsWithin(cut, age+20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ended %s after the cut; max_map_age is %s", tree, age)
	if err := daily.check("map-stale"); err != nil {
		t.Error(err)
	}
	if r := w.ssh("carol", "true"); r.code != 255 || !strings.Contains(r.err, "[map-stale]") {
		t.Errorf("carol, past the map's age: %s", r)
	}
	if r := w.ssh("ann", "echo", "in"); r.code != 0 {
		t.Errorf("ann, by the rule that stays: %s", r)
	}
	if !forever.alive() {
		t.Errorf("the session of the rule that stays ended:\n%s", forever.Text())
	}
	w.unmute(web)
	if err := lab.Until(within(t, 3*time.Minute), "carol to get in again", func() error {
		if r := w.ssh("carol", "true"); r.code != 0 {
			return errors.New(r.String())
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// What the machine's own administrator forbids, no policy allows; a file that cannot be read forbids all.
func TestMachinesLimitsEndAndRefuseSessions(t *testing.T) {
	w := openSmall(t)
	w.admin("policy", "add", "web", "--from", "everyone", "--to", "tag:web", "--as", "deploy,carol")
	w.ready()
	w.login("ann")
	w.login("carol")
	s := w.open("ann")
	limit := func(text string) {
		t.Helper()
		if err := w.peers[web].Run(within(t, 60*time.Second), "", "mkdir", "-p", "/etc/lanyard"); err != nil {
			t.Fatal(err)
		}
		if err := w.peers[web].Write("/etc/lanyard/limits.yaml", "", 0o644, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	limit("accounts: [carol]\n")
	watch := lab.StartWatch()
	defer watch.Stop()
	if _, _, err := s.endsWithin(watch, 15*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := s.check("limits"); err != nil {
		t.Error(err)
	}
	as := func(person, account string) result {
		return finish(w.machine(person).SSH(within(t, 60*time.Second), person, "ssh", account+"@"+strings.TrimPrefix(w.target, "deploy@"), "true"))
	}
	if r := as("carol", "deploy"); r.code != 255 || !strings.Contains(r.err, "[limits]") {
		t.Errorf("an account that is not offered: %s", r)
	}
	if r := as("carol", "carol"); r.code != 0 {
		t.Errorf("one that is: %s", r)
	}
	limit("acounts: [carol]\n")
	until := func(what string, f func() error) {
		t.Helper()
		if err := lab.Until(within(t, 60*time.Second), what, f); err != nil {
			t.Error(err)
		}
	}
	until("the wrong file to be noticed", func() error {
		if r := as("carol", "carol"); r.code != 255 || !strings.Contains(r.err, "[limits]") {
			return errors.New(r.String())
		}
		return nil
	})
	for _, command := range []string{"status", "doctor"} {
		out, _ := w.peers[web].Lanyard(within(t, 90*time.Second), "", command) // doctor fails when it finds something
		if !strings.Contains(out, "admits nobody") || !strings.Contains(out, "/etc/lanyard/limits.yaml") || !strings.Contains(out, "acounts") {
			t.Errorf("lanyard %s: %s", command, out)
		}
	}
	if err := os.Remove(w.peers[web].Path("/etc/lanyard/limits.yaml")); err != nil {
		t.Fatal(err)
	}
	until("everybody to get in again", func() error {
		if r := as("carol", "deploy"); r.code != 0 {
			return errors.New(r.String())
		}
		return nil
	})
}

// issuer is somebody else's provider, on a machine of its own.
type issuer struct {
	w   *world
	url string
}

// issuer starts the scripted provider; all machines trust its certificate.
func (w *world) issuer() *issuer {
	w.t.Helper()
	m := w.lab.Machine(work)
	at := m.Addr + ":8444"
	p, err := m.Start("issuer", "", w.lab.Program("issuer"), "--listen", at, "--ca", "/tmp/issuer.pem")
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := p.Match(within(w.t, 60*time.Second), regexp.MustCompile(`ready at`)); err != nil {
		w.t.Fatal(err)
	}
	pem, err := os.ReadFile(m.Path("/tmp/issuer.pem"))
	if err != nil {
		w.t.Fatal(err)
	}
	const bundle = "/etc/ssl/certs/ca-certificates.crt"
	for _, name := range []string{office, laptop, desk} {
		m := w.lab.Machine(name)
		have, err := os.ReadFile(m.Path(bundle))
		if err != nil {
			w.t.Fatal(err)
		}
		if err := m.Write(bundle, "", 0o644, append(have, pem...)); err != nil {
			w.t.Fatal(err)
		}
	}
	return &issuer{w, "https://" + at + "/realms/work"}
}

// set changes how the provider behaves, as in set("nonce", "drop"); tell asks what it was asked.
func (i *issuer) set(pairs ...string) {
	i.w.t.Helper()
	form := url.Values{}
	for n := 0; n < len(pairs); n += 2 {
		form.Set(pairs[n], pairs[n+1])
	}
	i.curl("--data", form.Encode())
}

func (i *issuer) curl(args ...string) string {
	i.w.t.Helper()
	at, _, _ := strings.Cut(strings.TrimPrefix(i.url, "https://"), "/")
	out, err := i.w.lab.Machine(work).Output(within(i.w.t, 60*time.Second), "",
		append([]string{"curl", "-sS", "--fail", "--cacert", "/tmp/issuer.pem", "https://" + at + "/control"}, args...)...)
	if err != nil {
		i.w.t.Fatal(err)
	}
	return out
}

func (i *issuer) tell() (counts struct {
	Refreshes, Logins, Revoked, JWKS int
	KID                              string
},
) {
	i.w.t.Helper()
	if err := json.Unmarshal([]byte(i.curl()), &counts); err != nil {
		i.w.t.Fatal(err)
	}
	return counts
}

// loginFile is the file of somebody's key; its certificate and freshness lie beside it.
func (w *world) loginFile(person string) string {
	w.t.Helper()
	m := w.machine(person)
	found, _ := filepath.Glob(m.Path(filepath.Join(m.Home(person), ".ssh", "lanyard-default-*.fresh")))
	if len(found) != 1 {
		w.t.Fatalf("files of %s's sign-in: %q", person, found)
	}
	return strings.TrimSuffix(found[0], ".fresh")
}

// expire makes a sign-in look old, so that the next ssh has to refresh it.
func (w *world) expire(person string) {
	w.t.Helper()
	name := w.loginFile(person) + ".fresh"
	line, err := os.ReadFile(name)
	if err != nil {
		w.t.Fatal(err)
	}
	f := strings.Fields(string(line))
	f[1] = "1"
	if err := os.WriteFile(name, []byte(strings.Join(f, " ")+"\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// extensions are those of somebody's certificate.
func (w *world) extensions(person string) map[string]string {
	w.t.Helper()
	b, err := os.ReadFile(w.loginFile(person) + "-cert.pub")
	if err != nil {
		w.t.Fatal(err)
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(b)
	if err != nil {
		w.t.Fatal(err)
	}
	return pub.(*ssh.Certificate).Extensions
}

func TestDirectIssuer(t *testing.T) {
	w := openSmall(t)
	is := w.issuer()
	is.set("groups", "web-team", "backdate", "5m")
	w.admin("issuer", "add", is.url, "--client-id", "lanyard", "--groups-claim", "realm_access.roles", "--iat-backdate", "5m", "--email-domains", "work.example")
	// A token that seems 5 minutes old at birth is young enough for a rule of 4 by the preset only.
	w.admin("policy", "add", "web", "--from", "group:web-team@"+is.url, "--to", "tag:web", "--as", "deploy", "--max-token-age", "4m")
	w.ready()
	login := func(person string) {
		t.Helper()
		out, err := w.machine(person).Login(within(t, 2*time.Minute), person, lab.Person{Email: person + "@work.example", Password: "x"}, "--issuer", is.url)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	in := func(person string) {
		t.Helper()
		if r := w.ssh(person, "echo", "in"); r.code != 0 || strings.TrimSpace(r.out) != "in" {
			t.Fatalf("%s: %s", person, r)
		}
	}
	login("ann")
	in("ann")
	if out := w.admin("user", "list"); !strings.Contains(out, "ann@work.example") {
		t.Errorf("who came is not listed: %s", out)
	}
	is.set("groups", "others")
	login("carol")
	if r := w.ssh("carol", "true"); r.code != 255 || !strings.Contains(r.err, "[no-rule]") {
		t.Errorf("without the group: %s", r)
	}
	// explains: the same word as ssh says, from the engine that decides.
	explains := func(t *testing.T, code string) {
		t.Helper()
		r := finish(w.peers[desk].Command(within(t, 90*time.Second), "carol", w.lab.Program("lanyard"), "explain", w.target))
		if !strings.Contains(r.out+r.err, "["+code+"]") || (r.code == 0) != (code == "ok") {
			t.Errorf("explain, want [%s]: %s", code, r)
		}
	}
	explains(t, "no-rule")
	t.Run("keeps the nonce", func(t *testing.T) {
		w := w.on(t)
		before := is.tell().Refreshes
		w.expire("ann")
		in("ann")
		if e := w.extensions("ann"); e["fresh-token@lanyard"] == "" || e["renewal@lanyard"] != "" {
			t.Errorf("the certificate has no fresh token")
		}
		if n := is.tell().Refreshes - before; n != 1 {
			t.Errorf("%d refreshes", n)
		}
	})
	// Once, ssh notices nothing of it; always, the token that is there is good still, and nobody asks without end.
	t.Run("a token of its is refused", func(t *testing.T) {
		w := w.on(t)
		slips := func(of string) (refreshes int, took time.Duration, r result) {
			t.Helper()
			before, began := is.tell().Refreshes, time.Now()
			is.set("slip", of)
			w.expire("ann")
			r = w.ssh("ann", "echo", "in")
			is.set("slip", "0")
			return is.tell().Refreshes - before, time.Since(began), r
		}
		for _, nonce := range []string{"keep", "drop"} {
			is.set("nonce", nonce)
			if n, _, r := slips("1"); n != 2 || r.code != 0 || r.out != "in\n" || strings.Contains(r.err, "Lanyard:") {
				t.Errorf("nonce=%s, once: %d refreshes, want 2; %s", nonce, n, r)
			}
			n, took, r := slips("1000")
			// What keeps the sign-in while sessions are open tries once a minute, twice as ssh does.
			if most := 2 + 2*(1+int(took/time.Minute)); n < 2 || n > most {
				t.Errorf("nonce=%s, always: %d refreshes in %s, want 2 to %d", nonce, n, took, most)
			}
			if r.code != 0 || r.out != "in\n" || strings.Count(r.err, "Lanyard:") != 1 || !strings.Contains(r.err, "[signature]") {
				t.Errorf("nonce=%s, always: %s", nonce, r)
			}
			w.expire("ann")
			in("ann")
		}
	})
	t.Run("drops the nonce", func(t *testing.T) {
		w := w.on(t)
		is.set("nonce", "drop")
		w.expire("ann")
		in("ann")
		if e := w.extensions("ann"); e["renewal@lanyard"] == "" || e["fresh-token@lanyard"] != "" {
			t.Errorf("the certificate has no renewal")
		}
	})
	t.Run("ten at once make one refresh", func(t *testing.T) {
		w := w.on(t)
		before := is.tell().Refreshes
		w.expire("ann")
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if r := w.ssh("ann", "true"); r.code != 0 {
					t.Errorf("%s", r)
				}
			})
		}
		wg.Wait()
		if n := is.tell().Refreshes - before; n != 1 {
			t.Errorf("%d refreshes", n)
		}
	})
	t.Run("rotates its keys", func(t *testing.T) {
		w := w.on(t)
		for range 2 {
			is.set("rotate", "1")
			w.expire("ann")
			in("ann") // bound by a key that is withdrawn, renewed by one that nobody had heard of
		}
		is.set("nonce", "keep", "rotate", "1", "groups", "web-team")
		login("carol")
		in("carol")
	})
	t.Run("is down", func(t *testing.T) {
		w := w.on(t)
		is.set("down", "1")
		w.expire("ann")
		in("ann") // the token that is there is good still
		is.set("down", "0")
	})
	t.Run("takes its refresh token back", func(t *testing.T) {
		w := w.on(t)
		before := is.tell().Revoked
		logout := func(want string) {
			t.Helper()
			out, err := w.machine("ann").Lanyard(within(t, 60*time.Second), "ann", "logout")
			if got := fmt.Sprintln(out, err); !strings.Contains(got, want) || (err == nil) == strings.Contains(want, "could not be told") {
				t.Errorf("logout: %s", got)
			}
		}
		logout("to end that, too, open " + is.url + "/bye?client_id=lanyard&logout_hint=ann%40work.example&now=1")
		if n := is.tell().Revoked - before; n != 1 {
			t.Errorf("%d tokens were revoked", n)
		}
		login("ann")
		is.set("down", "1")
		logout("the identity provider could not be told")
		is.set("down", "0")
		if r := w.ssh("ann", "true"); r.code != 255 || !strings.Contains(r.err, "run 'lanyard login'") {
			t.Errorf("after the logout: %s", r)
		}
	})
	t.Run("signs with a key that nobody has heard of", func(t *testing.T) {
		w := w.on(t)
		// Nothing of carol's reports to the management server: the server peer is the first who sees such a token.
		w.reject(desk, "carol")
		is.set("rotate", "hidden")
		w.expire("carol")
		before, began := is.tell().JWKS, time.Now()
		// A machine asks once in ten seconds at most, however often it meets such a token.
		most := func() int { return 1 + int(time.Since(began)/(10*time.Second)) }
		for range 6 {
			if r := w.ssh("carol", "true"); r.code != 255 || !strings.Contains(r.err, "[signature]") {
				t.Fatalf("%s", r)
			}
		}
		until(t, "the provider to be asked", func() error {
			if n := is.tell().JWKS - before; n < 1 || n > most() {
				return fmt.Errorf("it was asked for its keys %d times", n)
			}
			return nil
		})
		hidden := is.tell().JWKS - before
		is.set("publish", "1")
		w.eventually("carol", "in\n", "echo in") // nobody did anything but publish the key
		if n := is.tell().JWKS - before; n <= hidden || n > most() {
			t.Errorf("it was asked for its keys %d times, %d of them before it published the key", n, hidden)
		}
		w.unmute(desk)
	})
	t.Run("has a clock that is fast", func(t *testing.T) {
		w := w.on(t)
		is.set("backdate", "-10m")
		out, err := w.peers[desk].Login(within(t, 2*time.Minute), "carol", lab.Person{Email: "carol@work.example", Password: "x"}, "--issuer", is.url)
		if err == nil || !strings.Contains(out, "[clock-skew]") {
			t.Errorf("a sign-in of the future: %v\n%s", err, out)
		}
		if r := w.ssh("carol", "true"); r.code != 255 || strings.Count(r.err, "Lanyard:") != 1 || !strings.Contains(r.err, "[clock-skew]") {
			t.Errorf("a sign-in of the future, at the server: %s", r)
		}
		is.set("backdate", "5m")
		login("carol")
		in("carol")
		explains(t, "ok")
	})
	t.Run("a key is distrusted", func(t *testing.T) {
		w := w.on(t)
		login("carol")
		s, kid := w.open("carol"), is.tell().KID
		copied := w.loginFile("carol") // and put where a thief has it
		for _, suffix := range []string{"", "-cert.pub"} {
			b, err := os.ReadFile(copied + suffix)
			if err == nil {
				err = w.peers[desk].Write("/root/copied"+suffix, "", 0o600, b)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		watch := lab.StartWatch()
		defer watch.Stop()
		out := w.admin("issuer", "distrust", "--", kid)
		late := mayMiss(watch) && strings.Contains(out, "NOT in force yet on "+web)
		if _, _, err := s.endsWithin(watch, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		if err := s.check("distrusted"); err != nil {
			t.Error(err)
		}
		if !late && !strings.Contains(out, "ended session") {
			t.Errorf("the answer names no session: %s", out)
		}
		explains(t, "distrusted")
		if r := w.ssh("carol", "true"); r.code != 255 || !strings.Contains(r.err, "[distrusted]") && !strings.Contains(r.err, "[login-expired]") {
			t.Errorf("after that: %s", r)
		}
		is.set("rotate", "1")
		login("carol")
		in("carol")
		address, err := w.peers[web].Overlay(within(t, time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		if r := finish(w.peers[desk].Command(within(t, 90*time.Second), "", "ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i", "/root/copied",
			"-o", "CertificateFile=/root/copied-cert.pub", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "deploy@"+address, "echo in")); r.code != 255 || r.out != "" || !strings.Contains(r.err, "[distrusted]") {
			t.Errorf("a copy of the sign-in that the key vouched for: %s", r)
		}
		for _, a := range w.attempts(t, w.peers[desk], []string{"KEY=/root/copied"}, "call", w.mgmt.Join, "/root/copied-cert.pub") {
			if a.Accepted || !strings.Contains(a.Said, "distrusted") && !strings.Contains(a.What, "/api/admin/") {
				t.Errorf("the copy, at the management server: %+v", a)
			}
		}
	})
	t.Run("is removed", func(t *testing.T) {
		w := w.on(t)
		s := w.open("carol")
		w.admin("issuer", "remove", is.url)
		watch := lab.StartWatch()
		defer watch.Stop()
		if _, _, err := s.endsWithin(watch, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		if err := s.check("issuer"); err != nil {
			t.Error(err)
		}
		explains(t, "issuer")
		if r := w.ssh("carol", "true"); r.code != 255 || !strings.Contains(r.err, "[issuer]") {
			t.Errorf("after that: %s", r)
		}
	})
}
