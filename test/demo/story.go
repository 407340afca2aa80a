//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"lanyard/test/lab"
)

// The demo's cast.
const (
	ann    = "ann@example.com"
	server = "web-1"
	client = "laptop"
	office = "office"
)

type demo struct {
	lab     *lab.Lab
	mgmt    *lab.Mgmt
	laptop  *lab.Peer
	web     *lab.Peer
	me      string // ann's account on the laptop
	as      string // the account on web-1
	target  string // what ssh is told
	secrets lab.Person
}

func say(format string, args ...any)  { fmt.Printf("\n"+format+"\n", args...) }
func show(format string, args ...any) { fmt.Printf("    "+format+"\n", args...) }

func open(ctx context.Context, o options) (*demo, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	l, err := lab.Open(ctx, lab.Options{
		Bin: o.bin, Self: self, User: o.userspace,
		Machines: []string{office, client, server}, Accounts: []string{"ann", "deploy"},
	})
	if err != nil {
		return nil, err
	}
	d := &demo{lab: l, me: "ann", as: "deploy"}
	if !l.Root {
		d.me, d.as = lab.Me(), lab.Me()
	}
	password := make([]byte, 12)
	rand.Read(password)
	d.secrets = lab.Person{Email: ann, Password: hex.EncodeToString(password)}
	return d, nil
}

// network starts the management server and both machines.
func (d *demo) network(ctx context.Context) (err error) {
	if d.lab.Root {
		say("Three machines, each with its own network and files: %s (the management server), %s and %s.", office, client, server)
	} else {
		say("Three installations side by side, without root: %s (the management server), %s and %s.", office, client, server)
	}
	if d.mgmt, err = d.lab.StartMgmt(ctx, office); err != nil {
		return err
	}
	show("lanyard-mgmt serve: ready at %s", d.mgmt.URL)
	if err := d.mgmt.AddUser(ctx, ann, "Ann", d.secrets.Password); err != nil {
		return err
	}
	if err := d.mgmt.AddPolicy(ctx, "web", "user:"+ann, "tag:web", d.as); err != nil {
		return err
	}
	show("lanyard-mgmt user add %s; policy add web --from user:%s --to tag:web --as %s", ann, ann, d.as)
	if d.web, err = d.mgmt.Enrol(ctx, server, lab.Joining{Tags: []string{"tag:web"}, SSH: true}); err != nil {
		return err
	}
	if d.laptop, err = d.mgmt.Enrol(ctx, client, lab.Joining{Tags: []string{"tag:laptop"}}); err != nil {
		return err
	}
	if _, err := d.mgmt.Admin(ctx, "peer", "approve", server); err != nil {
		return err
	}
	show("both machines joined with: lanyard up %s --setup-key-file FILE", d.mgmt.URL)
	show("lanyard-mgmt peer approve %s: from now on its short name may be used", server)
	return nil
}

// signIn lets the scripted browser sign Ann in.
func (d *demo) signIn(ctx context.Context) error {
	say("Ann signs in on %s; a scripted browser stands in for hers.", client)
	if err := d.laptop.Knows(ctx, server); err != nil {
		return err
	}
	if err := d.web.Serves(ctx); err != nil {
		return err
	}
	start := time.Now()
	out, err := d.laptop.Login(ctx, d.me, d.secrets)
	if err != nil {
		return err
	}
	quote(out)
	show("(%.1f s)", time.Since(start).Seconds())
	d.target = d.as + "@" + server
	return nil
}

// session runs the machine's own ssh.
func (d *demo) session(ctx context.Context) error {
	version, _ := exec.CommandContext(ctx, "ssh", "-V").CombinedOutput()
	say("Now plain ssh: %s", strings.TrimSpace(string(version)))
	overlay, err := d.web.Overlay(ctx)
	if err != nil {
		return err
	}
	const command = `echo "I am $(id -un) on $(hostname); SSH_CONNECTION=$SSH_CONNECTION"`
	show("$ ssh %s '%s'", d.target, command)
	out, err := output(d.laptop.SSH(ctx, d.me, "ssh", d.target, command))
	if err != nil {
		return err
	}
	quote(out)
	if !strings.Contains(out, "I am "+d.as+" ") || !strings.Contains(out, " "+overlay+" 22") {
		return fmt.Errorf("the session is not %s's over the tunnel to %s", d.as, overlay)
	}
	show("%s is the address of %s inside the tunnel.", overlay, server)
	return nil
}

// copies sends a file there and back with scp, and lists it with sftp.
func (d *demo) copies(ctx context.Context) error {
	say("Files, both ways:")
	data := make([]byte, 8<<20)
	rand.Read(data)
	up, back := filepath.Join(d.laptop.Home(d.me), "report.bin"), filepath.Join(d.laptop.Home(d.me), "report-back.bin")
	there := filepath.Join(d.web.Scratch(), "report.bin")
	if err := d.laptop.Write(up, d.me, 0o600, data); err != nil {
		return err
	}
	for _, args := range [][]string{{"-q", up, d.target + ":" + there}, {"-q", d.target + ":" + there, back}} {
		show("$ scp %s", strings.Join(args, " "))
		if _, err := output(d.laptop.SSH(ctx, d.me, "scp", args...)); err != nil {
			return err
		}
	}
	got, err := os.ReadFile(d.laptop.Path(back))
	if err != nil {
		return err
	}
	if !bytes.Equal(got, data) {
		return errors.New("the file that came back is not the one that was sent")
	}
	sum := sha256.Sum256(got)
	show("8 MiB there and back, SHA-256 %x... both times", sum[:8])
	c := d.laptop.SSH(ctx, d.me, "sftp", "-q", "-b", "-", d.target)
	c.Stdin = strings.NewReader("ls -l " + there + "\nrename " + there + " " + there + ".old\nls " + there + ".old\nrm " + there + ".old\n")
	show("$ sftp %s", d.target)
	out, err := output(c)
	if err != nil {
		return err
	}
	quote(out)
	return nil
}

var listening = regexp.MustCompile(`listening on (\S+)`)

// forward reaches a server on web-1's loopback through ssh -L.
func (d *demo) forward(ctx context.Context) (err error) {
	say("A server that listens on %s's loopback only, through ssh -L:", server)
	srv, err := d.web.Start("hello", "", d.lab.Program("self"), "hello", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, srv.Stop()) }()
	at, err := srv.Match(ctx, listening)
	if err != nil {
		return err
	}
	socket := filepath.Join(d.laptop.Home(d.me), "fwd.sock")
	show("$ ssh -N -L %s:%s %s", socket, at[1], d.target)
	ssh, err := d.laptop.StartCommand("ssh-L", d.laptop.SSH(ctx, d.me, "ssh", "-N", "-o", "ExitOnForwardFailure=yes", "-L", socket+":"+at[1], d.target))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ssh.Stop()) }()
	var got string
	if err := lab.Until(ctx, "the forwarded port", func() error {
		select {
		case <-ssh.Done():
			return fmt.Errorf("ssh ended: %v\n%s", ssh.Err(), ssh.Text())
		default:
		}
		c, err := dialUnix(d.laptop.Path(socket))
		if err != nil {
			return err
		}
		defer c.Close()
		b, err := io.ReadAll(c)
		if got = string(b); err == nil && got == "" {
			err = errors.New("it said nothing")
		}
		return err
	}); err != nil {
		return err
	}
	quote(got)
	return nil
}

// block ends a live session.
func (d *demo) block(ctx context.Context) error {
	say("Ann has a session open. The administrator blocks her:")
	c := d.laptop.SSH(ctx, d.me, "ssh", d.target, "echo session open; sleep 600")
	live, err := d.laptop.StartCommand("live-session", c)
	if err != nil {
		return err
	}
	if _, err := live.Match(ctx, regexp.MustCompile("session open")); err != nil {
		return err
	}
	start := time.Now()
	show("$ lanyard-mgmt user block %s", ann)
	out, err := d.mgmt.Admin(ctx, "user", "block", ann)
	if err != nil {
		return err
	}
	answered := time.Now()
	quote(out)
	select {
	case <-live.Done():
	case <-ctx.Done():
		return fmt.Errorf("the session is still alive: %w", ctx.Err())
	}
	ended := time.Now()
	show("Her ssh ended %d ms after the command began (%d ms after its answer), exit status %d:",
		ended.Sub(start).Milliseconds(), max(0, ended.Sub(answered).Milliseconds()), lab.ExitCode(live.Err()))
	text := strings.TrimSpace(strings.TrimPrefix(live.Text(), "session open\n"))
	quote(text)
	if lab.ExitCode(live.Err()) != 255 || !strings.Contains(text, "[blocked]") {
		return errors.New("the session should have ended with exit status 255 and the reason [blocked]")
	}
	show("$ ssh %s", d.target)
	for deadline := time.Now().Add(30 * time.Second); ; {
		again := d.laptop.SSH(ctx, d.me, "ssh", d.target, "true")
		var errs bytes.Buffer
		again.Stderr = &errs
		code := lab.ExitCode(again.Run())
		if code == 255 && strings.Contains(errs.String(), "[blocked]") {
			quote(errs.String())
			show("(Exit status 255. The two machines are not connected any more.)")
			return nil
		}
		// The laptop learns of the block a moment later than the server, which is asked first.
		if code != 255 || time.Now().After(deadline) {
			return fmt.Errorf("a blocked person's ssh should exit with 255 and say [blocked], not %d: %s", code, errs.String())
		}
	}
}

// audit shows what the management server recorded.
func (d *demo) audit(ctx context.Context) error {
	say("What the audit log says:")
	var out string
	if err := lab.Until(ctx, "the audit events", func() (err error) {
		out, err = d.mgmt.Admin(ctx, "audit")
		if err == nil && (!strings.Contains(out, "session.end") || !strings.Contains(out, "blocked")) {
			err = errors.New("the end of the blocked session is not in the audit log")
		}
		return err
	}); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	quote(out)
	return nil
}

func quote(text string) {
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		show("| %s", strings.TrimRight(line, "\r\n"))
	}
}

// output runs c; its stderr is part of the error.
func output(c *exec.Cmd) (string, error) {
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", filepath.Base(c.Args[0]), err, errs.String(), out.String())
	}
	return out.String(), nil
}
