//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lanyard/mgmt/api/audit"
	"lanyard/service/spool"
	"lanyard/test/lab"
)

// title sets the title of a terminal that it reaches.
const title = "\x1b]0;taken over\a"

// A client of somebody's own making, on a machine that is theirs: it has a sign-in of its person's and never reports it
// to anybody. What it says of itself reaches no terminal, and a block ends it.
func TestClientOfOnesOwnMaking(t *testing.T) {
	w := openSmall(t)
	w.admin("policy", "add", "web", "--from", "everyone", "--to", "tag:web", "--as", "deploy")
	w.ready()
	ctx := within(t, 6*time.Minute)
	w.login("carol")
	own := w.peers[desk]
	key := w.loginFile("carol")
	for _, suffix := range []string{"", "-cert.pub"} {
		b, err := os.ReadFile(key + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := own.Write("/root/key"+suffix, "", 0o600, b); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"KEY=/root/key"}
	addr, err := w.peers[web].Overlay(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// The version is the first thing that a client says.
	if err := own.Run(ctx, "", "python3", "-c", `
import socket, sys
s = socket.create_connection((sys.argv[1], 22), 60)
s.sendall(("SSH-2.0-Own" + sys.argv[2] + "\r\n").encode())
s.settimeout(2)
try:
    while s.recv(4096): pass
except OSError: pass`, addr, title); err != nil {
		t.Fatal(err)
	}
	if err := own.Daemon.Stop(); err != nil { // from here on nothing on this machine tells the management server anything
		t.Fatal(err)
	}

	names := []string{strconv.Quote("deploy" + title), strconv.Quote(title)}
	for _, a := range w.attempts(t, own, env, append([]string{"login", addr + ":22", "/root/key-cert.pub"}, names...)...) {
		if a.Accepted || strings.Contains(a.Said, "\x1b") {
			t.Errorf("%+v", a)
		}
	}
	marker := fmt.Sprintf("32%d.%d", time.Now().UnixNano()%1e9, os.Getpid())
	c := own.Command(context.Background(), "", w.lab.Program("hostile"), "stay", addr+":22", "deploy", "/root/key-cert.pub",
		"echo session open; : '"+title+"'; sleep "+marker)
	c.Env = append(c.Env, env...)
	s := &live{w: w, marker: marker, opened: time.Now()}
	if s.Process, err = own.StartCommand("stay", c); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Match(ctx, sessionOpen); err != nil {
		t.Fatal(err)
	}
	until(t, "the session's process", func() error {
		if s.processes() != 1 {
			return fmt.Errorf("%d of them", s.processes())
		}
		return nil
	})
	w.admin("user", "block", people["carol"].Email)
	watch := lab.StartWatch()
	defer watch.Stop()
	if _, _, err := s.endsInTime(watch); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`\[blocked\]`).MatchString(s.Text()) {
		t.Errorf("it was not told why: %q", s.Text())
	}
	for _, a := range w.attempts(t, own, env, "login", addr+":22", "/root/key-cert.pub", `"deploy"`) {
		if a.Accepted || !strings.Contains(a.Said, "[blocked]") {
			t.Errorf("a blocked person: %+v", a)
		}
	}

	// Whoever looks at it looks at text.
	until(t, "the audit log", func() error {
		events, err := w.auditLog()
		if err != nil {
			return err
		}
		var command, account bool
		for _, e := range events {
			command = command || strings.Contains(e.Command, title)
			account = account || strings.Contains(e.LocalUser+e.Target+e.Detail, title)
		}
		if !command || !account {
			return fmt.Errorf("the command came in %v, the account %v: %+v", command, account, events)
		}
		return nil
	})
	w.plain(t, web)
}

// plain checks that nothing that people look at has control characters in it, and that what stands for the title does.
func (w *world) plain(t *testing.T, machine string) {
	t.Helper()
	ctx := within(t, 2*time.Minute)
	shown := map[string]string{"lanyard-mgmt audit": w.admin("audit")}
	st, err := w.peers[machine].Lanyard(ctx, "", "status")
	if err != nil {
		t.Error(err)
	}
	shown["lanyard status"] = st
	shown["the service's log"] = w.peers[machine].Daemon.Text()
	shown["the management server's log"] = w.mgmt.Process.Text()
	for what, text := range shown {
		if i := strings.IndexFunc(text, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == 0x7f }); i >= 0 {
			t.Errorf("%s has a control character: %q", what, text[max(0, i-100):min(len(text), i+60)])
		}
	}
	if !strings.Contains(shown["lanyard-mgmt audit"], `\x1b]0;taken over\a`) {
		t.Errorf("lanyard-mgmt audit does not show the text at all:\n%s", shown["lanyard-mgmt audit"])
	}
}

// Every forward and every transfer is in the audit log once, on both ends the same, in an unbroken chain.
func TestEveryForwardAndTransferIsCountedOnce(t *testing.T) {
	w := openSmall(t)
	w.admin("policy", "add", "web", "--from", "everyone", "--to", "tag:web", "--as", "deploy", "--can", "shell,exec,pty,sftp,forward-local,forward-remote")
	w.ready()
	ctx := within(t, 6*time.Minute)
	w.login("ann")
	client, server := w.peers[laptop], w.peers[web]
	const local, remote = 7, 5
	answers(t, server, "", "7003", "from the server")
	answers(t, client, "ann", "7001", "from the laptop")
	there := w.background(t, "local", "-N", "-L", "7004:127.0.0.1:7003")
	back := w.background(t, "remote", "-N", "-R", "7002:127.0.0.1:7001")
	listening := func(p *lab.Peer, port string) {
		until(t, "a listener at "+port, func() error {
			out, err := p.Output(ctx, "", "ss", "-Hltn", "sport", "=", port)
			if err == nil && out == "" {
				err = errors.New("none")
			}
			return err
		})
	}
	listening(client, "7004")
	listening(server, "7002")
	for range local {
		if got := hears(ctx, client, "ann", "7004"); got != "from the server" {
			t.Fatalf("heard %q", got)
		}
	}
	for range remote {
		if got := hears(ctx, server, "", "7002"); got != "from the laptop" {
			t.Fatalf("heard %q", got)
		}
	}
	for _, p := range []*lab.Process{there, back} {
		p.Stop() // ssh says 255 when it is told to end
	}
	name := "a" + title
	if err := client.Write("/home/ann/file", "ann", 0o644, []byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	batch := "put file \"" + name + "\"\nget \"" + name + "\" got\nrename \"" + name + "\" b\nrm b\n"
	c := client.SSH(ctx, "ann", "sftp", "-q", "-b", "-", w.target)
	c.Stdin = strings.NewReader(batch)
	if r := finish(c); r.code != 0 {
		t.Fatalf("sftp: %s", r)
	}

	var sent, got []audit.Event
	until(t, "the same events at both ends, and all sessions ended", func() (err error) {
		if sent, err = spooled(server); err != nil {
			return err
		}
		all, err := w.auditLog("-n", "0")
		if err != nil {
			return err
		}
		got = slices.DeleteFunc(all, func(e audit.Event) bool { return e.Prev == "" && e.Type != audit.SessionStart })
		return errors.Join(same(sent, got), balanced(got))
	})
	counts := map[string]int{}
	for _, e := range got {
		switch e.Type {
		case audit.ChannelStart, audit.FileOp:
			counts[string(e.Type)+" "+e.What]++
		}
	}
	want := map[string]int{
		"channel.start forward-local": local, "channel.start forward-remote": remote + 1, // and the listener
		"channel.start sftp": 1, "file open-write": 1, "file open-read": 1, "file close": 2, "file rename": 1, "file remove": 1,
	}
	if !maps.Equal(counts, want) {
		t.Errorf("counted %v, want %v", counts, want)
	}
	if r, err := spool.Verify(server.Path(spoolDir)); err != nil || r.Broken != "" || r.Events != len(sent) {
		t.Errorf("the spool's chain: %+v, %v; want %d events", r, err, len(sent))
	}
	if out := w.admin("audit", "verify"); !strings.Contains(out, "each where its machine put it") {
		t.Errorf("the management server's chain: %s", out)
	}
	w.plain(t, web)
}
