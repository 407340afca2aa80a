//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
)

const (
	annsBox  = "anns-box"  // ann's own machine
	evilBox  = "evil-box"  // mallory's own, with a server that passes prompts on
	evilHost = "evil-host" // a server of the network's, taken over
	phone    = "phone"     // has a browser
)

var mallory = lab.Person{Email: "mallory@example.com", Password: "mallory has a long password"}

// openPrompts is a network where people without Lanyard's certificate may sign in at ssh's prompt, from their own machines.
func openPrompts(t *testing.T) *world {
	t.Helper()
	ctx := within(t, 6*time.Minute)
	l, err := lab.Open(ctx, lab.Options{
		Bin: filepath.Join("..", "..", ".build", "bin"), Machines: []string{office, web, annsBox, evilBox, evilHost, phone},
		Accounts: []string{"ann", "deploy"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(l.Logs(40))
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{t: t, lab: l, peers: map[string]*lab.Peer{}, as: "deploy"}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w.mgmt, err = l.StartMgmt(ctx, office)
	must(err)
	must(w.mgmt.AddUser(ctx, people["ann"].Email, "ann", people["ann"].Password))
	must(w.mgmt.AddUser(ctx, mallory.Email, "mallory", mallory.Password))
	_, err = w.mgmt.Admin(ctx, "group", "add", "web-team", people["ann"].Email, mallory.Email)
	must(err)
	for name, tag := range map[string]string{web: "tag:web", evilHost: "tag:other", phone: "tag:other"} {
		w.peers[name], err = w.mgmt.Enrol(ctx, name, lab.Joining{Tags: []string{tag}, SSH: name == web})
		must(err)
	}
	w.peers[annsBox], err = w.mgmt.EnrolBy(ctx, annsBox, people["ann"])
	must(err)
	w.peers[evilBox], err = w.mgmt.EnrolBy(ctx, evilBox, mallory)
	must(err)
	w.prompts("own")
	must(w.peers[web].Serves(ctx))
	for _, name := range []string{annsBox, evilBox, evilHost} {
		must(w.peers[name].Knows(ctx, web))
	}
	w.target, err = w.peers[web].Overlay(ctx)
	must(err)
	return w
}

// prompts says whence people may sign in at the prompt.
func (w *world) prompts(from string) {
	w.t.Helper()
	args := []string{"policy", "add", "web", "--from", "group:web-team", "--to", "tag:web", "--as", w.as}
	if from != "" {
		args = append(args, "--prompt", from)
	}
	w.admin(args...)
}

// prompted is a client that shows a prompt.
type prompted struct {
	*lab.Process
	w     *world
	enter io.Writer
}

// clients are programs that know nothing of Lanyard. Each runs a command on web-1 as deploy.
func (w *world) clients(command string) map[string][]string {
	w.t.Helper()
	// What a person copies from their administrator.
	out, err := w.peers[annsBox].Output(within(w.t, 60*time.Second), "ann", "sh", "-c", "ssh-keyscan -T 60 -t ed25519 "+w.target+" 2>/dev/null | ssh-keygen -lf -")
	if err != nil {
		w.t.Fatal(err)
	}
	print := regexp.MustCompile(`SHA256:\S+`).FindString(out)
	// On a terminal of their own, as people have one.
	tty := func(line string) []string { return []string{"script", "-qefc", line, "/dev/null"} }
	return map[string][]string{
		"plink":    tty(fmt.Sprintf("plink -ssh -no-antispoof -hostkey %s deploy@%s '%s'", print, w.target, command)),
		"dbclient": tty(fmt.Sprintf("dbclient -y deploy@%s '%s'", w.target, command)),
		"ssh":      tty(fmt.Sprintf("ssh -F /dev/null -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no deploy@%s '%s'", w.target, command)),
		"paramiko": {"python3", "-c", paramikoClient, w.target, "deploy", command},
	}
}

// paramikoClient does what programs in Python do.
const paramikoClient = `
import sys, socket, paramiko
host, user, command = sys.argv[1:]
t = paramiko.Transport(socket.create_connection((host, 22)))
t.banner_timeout = t.auth_timeout = 300
t.start_client()
def answer(title, instructions, prompts):
    print(title); print(instructions)
    return [input(p) or "" for p, echo in prompts]
try:
    t.auth_interactive(user, answer)
except paramiko.SSHException as e:
    banner = t.get_banner()
    print(e, (banner or b"").decode()); sys.exit(255)
c = t.open_session()
c.exec_command(command)
sys.stdout.write(c.makefile().read().decode())
sys.exit(c.recv_exit_status())
`

// start runs a client on a machine.
func (w *world) start(machine, name string, argv ...string) *prompted {
	w.t.Helper()
	c := w.peers[machine].Command(context.Background(), "ann", argv...)
	in, err := c.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	p, err := w.peers[machine].StartCommand(fmt.Sprintf("%s-%d", name, time.Now().UnixNano()), c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { in.Close(); p.Kill() })
	return &prompted{Process: p, w: w, enter: in}
}

var shownCode = regexp.MustCompile(`type the code\s+([A-Z]{4}-[A-Z]{4})`)

func (p *prompted) code() string {
	p.w.t.Helper()
	m, err := p.Match(within(p.w.t, 90*time.Second), shownCode)
	if err != nil {
		p.w.t.Fatal(err)
	}
	return m[1]
}

// signIn types the code on the phone and returns what the pages said.
func (w *world) signIn(code string, who lab.Person) string {
	w.t.Helper()
	pages, err := w.peers[phone].TypeCode(within(w.t, 2*time.Minute), code, who)
	if err != nil {
		w.t.Fatal(err)
	}
	return pages
}

// finish presses Enter and waits for the client's end.
func (p *prompted) finish() int {
	p.w.t.Helper()
	io.WriteString(p.enter, "\n")
	select {
	case <-p.Done():
	case <-time.After(90 * time.Second):
		p.w.t.Fatalf("the client did not end\n%s", p.Text())
	}
	return lab.ExitCode(p.Err())
}

func TestClientsWithoutOurDropInSignInAtThePrompt(t *testing.T) {
	needsRoot(t)
	for _, tool := range []string{"plink", "dbclient", "python3", "script"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is missing; 'make check-tools' installs it", tool)
		}
	}
	w := openPrompts(t)
	for name, argv := range w.clients("echo in as $(id -un) for $LANYARD_USER") {
		t.Run(name, func(t *testing.T) {
			w := w.on(t)
			p := w.start(annsBox, name, argv...)
			pages := w.signIn(p.code(), people["ann"])
			for _, want := range []string{annsBox, web, "deploy", people["ann"].Email} {
				if !strings.Contains(pages, want) {
					t.Errorf("the pages do not name %s:\n%s", want, pages)
				}
			}
			if strings.Contains(pages, "not your machine") {
				t.Errorf("ann is warned of her own machine:\n%s", pages)
			}
			if exit := p.finish(); exit != 0 || !strings.Contains(p.Text(), "in as deploy for ann@example.com") {
				t.Errorf("exit status %d\n%s", exit, p.Text())
			}
			if !regexp.MustCompile(`server +web-1\W+account +deploy\W+from +anns-box`).MatchString(p.Text()) {
				t.Errorf("the prompt does not say what to compare:\n%s", p.Text())
			}
		})
	}
	t.Run("explain", func(t *testing.T) {
		w := w.on(t)
		for source, want := range map[string]string{annsBox: "and also", evilHost: "but not"} {
			out := w.admin("explain", people["ann"].Email, "deploy@"+web, "--source", source)
			if !strings.Contains(out, "[ok]") || !strings.Contains(out, want+` with a sign-in at ssh's prompt from "`+source+`"`) {
				t.Errorf("from %s: %s", source, out)
			}
		}
	})
	t.Run("another person confirms", func(t *testing.T) {
		w := w.on(t)
		p := w.start(annsBox, "other", w.clients("echo in")["plink"]...)
		if pages := w.signIn(p.code(), mallory); !strings.Contains(pages, "This is not your machine") {
			t.Errorf("mallory is not warned of ann's machine:\n%s", pages)
		}
		if exit := p.finish(); exit == 0 || !strings.Contains(p.Text(), "[own-device]") {
			t.Errorf("exit status %d\n%s", exit, p.Text())
		}
	})
	t.Run("a code that was used", func(t *testing.T) {
		w := w.on(t)
		p := w.start(annsBox, "used", w.clients("echo in")["dbclient"]...)
		code := p.code()
		w.signIn(code, people["ann"])
		if _, err := w.peers[phone].TypeCode(within(t, 90*time.Second), code, people["ann"]); err == nil {
			t.Error("the code was good twice")
		}
		if exit := p.finish(); exit != 0 {
			t.Errorf("exit status %d\n%s", exit, p.Text())
		}
	})
	t.Run("a server in between", w.relay)
	t.Run("the session ends with the person's access", func(t *testing.T) {
		w := w.on(t)
		p := w.start(annsBox, "live", w.clients("echo session open; sleep 1000")["dbclient"]...)
		w.signIn(p.code(), people["ann"])
		io.WriteString(p.enter, "\n")
		if _, err := p.Match(within(t, 60*time.Second), sessionOpen); err != nil {
			t.Fatal(err)
		}
		until(t, "the session alone in the list", func() error { // those before may be at their end still
			st, err := w.peers[web].Status(within(t, 60*time.Second))
			if err == nil && (len(st.Sessions) != 1 || st.Sessions[0].User != people["ann"].Email || st.Sessions[0].Source != annsBox) {
				err = fmt.Errorf("who is on web-1: %+v", st.Sessions)
			}
			return err
		})
		w.admin("user", "block", people["ann"].Email)
		watch := lab.StartWatch()
		defer watch.Stop()
		select {
		case <-p.Done():
		case <-time.After(90 * time.Second):
			t.Fatalf("the session is still there\n%s", p.Text())
		}
		if took := watch.Took(); took > 10*time.Second {
			t.Errorf("the session ended after %s", took)
		}
		if !strings.Contains(p.Text(), "[blocked]") {
			t.Errorf("the reason is not shown\n%s", p.Text())
		}
		w.admin("user", "unblock", people["ann"].Email)
	})
	t.Run("the audit log", func(t *testing.T) {
		w := w.on(t)
		if err := lab.Until(within(t, 60*time.Second), "the events", func() error {
			out := w.admin("audit", "--json")
			for _, want := range []string{`"detail":"for one session"`, `"type":"session.start"`, `"reason":"own-device"`, `"reason":"blocked"`} {
				if !strings.Contains(strings.ReplaceAll(out, `": `, `":`), want) {
					return fmt.Errorf("no %s", want)
				}
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
	t.Run("the management server is away", func(t *testing.T) {
		w := w.on(t)
		clients := w.clients("echo in")
		if err := w.mgmt.Process.Stop(); err != nil {
			t.Fatal(err)
		}
		p := w.start(annsBox, "away", clients["dbclient"]...)
		select {
		case <-p.Done():
		case <-time.After(90 * time.Second):
			t.Fatalf("the client waits\n%s", p.Text())
		}
		if n := strings.Count(p.Text(), "Lanyard:"); n != 1 || !strings.Contains(p.Text(), "[sign-in-unreachable]") {
			t.Errorf("%d lines\n%s", n, p.Text())
		}
		if err := w.mgmt.Start(within(t, 60*time.Second)); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("off without a policy", func(t *testing.T) {
		w := w.on(t)
		if err := lab.Until(within(t, 60*time.Second), "the prompts' end", func() error { // web-1 may be on its way back
			w.prompts("")
			p := w.start(annsBox, "off", w.clients("echo in")["ssh"]...)
			if _, err := p.Match(within(t, 60*time.Second), shownCode); err == nil {
				p.Kill()
				return errors.New("a code is shown")
			}
			<-p.Done()
			if lab.ExitCode(p.Err()) != 255 || strings.Contains(p.Text(), "type the code") || !strings.Contains(p.Text(), "(publickey)") {
				return fmt.Errorf("%s", p.Text())
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
}

// relay: ann connects to a server that passes web-1's prompt on to her, and signs in although the page warns her.
func (w *world) relay(t *testing.T) {
	w = w.on(t)
	victim := func(machine string) []string {
		return []string{"script", "-qefc", fmt.Sprintf("ssh -F /dev/null -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -p 2222 ann@%s", w.peers[machine].Addr), "/dev/null"}
	}
	serve := func(machine string) *lab.Process {
		p, err := w.peers[machine].Start("relay-"+machine, "", w.lab.Program("relay"), w.peers[machine].Addr+":2222", w.target+":22", "deploy")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Kill)
		if _, err := p.Match(within(t, 60*time.Second), regexp.MustCompile("waiting for victims")); err != nil {
			t.Fatal(err)
		}
		return p
	}
	own, host := serve(evilBox), serve(evilHost)
	// It works, for its owner, from his own machine: there is nothing in the way but whose machine it is.
	p := w.start(annsBox, "relay-control", victim(evilBox)...)
	w.signIn(p.code(), mallory)
	io.WriteString(p.enter, "\n")
	if _, err := own.Match(within(t, 60*time.Second), regexp.MustCompile(`got in: deploy`)); err != nil {
		t.Fatalf("mallory from his own machine: %v", err)
	}
	p = w.start(annsBox, "relay-victim", victim(evilBox)...)
	pages := w.signIn(p.code(), people["ann"])
	for _, want := range []string{"This is not your machine", evilBox, mallory.Email, web} {
		if !strings.Contains(pages, want) {
			t.Errorf("the pages do not warn of %q:\n%s", want, pages)
		}
	}
	io.WriteString(p.enter, "\n")
	if _, err := own.Match(within(t, 60*time.Second), regexp.MustCompile(`refused: .*\[own-device\]`)); err != nil {
		t.Errorf("from mallory's machine: %v", err)
	}
	// From a server that is nobody's own there is no prompt to pass on.
	p = w.start(annsBox, "relay-host", victim(evilHost)...)
	if _, err := host.Match(within(t, 60*time.Second), regexp.MustCompile(`refused: .*\[own-device\]`)); err != nil {
		t.Errorf("from a server: %v\n%s", err, p.Text())
	}
	if strings.Contains(p.Text(), "type the code") {
		t.Errorf("the prompt was passed on:\n%s", p.Text())
	}
	// A rule may name that machine; then whoever signs in from there comes in.
	w.prompts("own,peer:" + evilHost)
	p = w.start(annsBox, "relay-named", victim(evilHost)...)
	w.signIn(p.code(), people["ann"])
	io.WriteString(p.enter, "\n")
	if _, err := host.Match(within(t, 60*time.Second), regexp.MustCompile(`got in: deploy`)); err != nil {
		t.Errorf("from a machine that the rule names: %v", err)
	}
	w.prompts("own")
}
