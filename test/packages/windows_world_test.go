//go:build linux

package packages

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"lanyard/test/lab"
	"lanyard/test/wine"
)

const build = "../../.build"

// The Windows machine's name in the network, and who uses it.
const winPeer = "desk-7"

var ann = lab.Person{Email: "ann@example.com", Password: "ann has a long password"}

// windowsProgram builds a program for Windows, once.
func windowsProgram(t *testing.T, name, folder, version string) string {
	t.Helper()
	out, err := wine.Program(t.Context(), build, name, folder, version)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// office is a network on this machine's loopback: a management server, and ann at her laptop, in folders.
type office struct {
	t      *testing.T
	lab    *lab.Lab
	mgmt   *lab.Mgmt
	laptop *lab.Peer
}

func openOffice(t *testing.T) *office {
	t.Helper()
	ctx := within(t, 6*time.Minute)
	l, err := lab.Open(ctx, lab.Options{Bin: filepath.Join(build, "bin"), Machines: []string{"office", "laptop"}, User: true})
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
	o := &office{t: t, lab: l}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	o.mgmt, err = l.StartMgmt(ctx, "office")
	must(err)
	must(o.mgmt.AddUser(ctx, ann.Email, "ann", ann.Password))
	must(o.mgmt.AddPolicy(ctx, "windows", "user:"+ann.Email, "tag:windows", lab.Me()))
	o.laptop, err = o.mgmt.Enrol(ctx, "laptop", lab.Joining{Tags: []string{"tag:laptop"}})
	must(err)
	return o
}

// signIn signs ann in at her laptop, where the Windows machine is known by then.
func (o *office) signIn() {
	o.t.Helper()
	o.signInFor(winPeer)
}

func (o *office) signInFor(machine string) {
	o.t.Helper()
	if err := o.laptop.Knows(within(o.t, 90*time.Second), machine); err != nil {
		o.t.Fatal(err)
	}
	if out, err := o.laptop.Login(within(o.t, 2*time.Minute), lab.Me(), ann); err != nil {
		o.t.Fatalf("%v\n%s", err, out)
	}
}

const target = winPeer + ".lanyard.internal"

// result of a program that has ended.
type result struct {
	out, err string
	code     int
}

func (r result) String() string {
	return fmt.Sprintf("exit status %d\nstdout: %q\nstderr: %q", r.code, r.out, r.err)
}

// client runs an OpenSSH program at ann's laptop, with something to read.
func (o *office) client(program, stdin string, args ...string) result {
	o.t.Helper()
	c := o.laptop.SSH(within(o.t, 3*time.Minute), lab.Me(), program, args...)
	var out, errs bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader([]byte(stdin)), &out, &errs
	err := c.Run()
	return result{out.String(), errs.String(), lab.ExitCode(err)}
}

// ssh runs a command on the Windows machine.
func (o *office) ssh(args ...string) result {
	o.t.Helper()
	return o.sshTo(winPeer, args...)
}

func (o *office) sshTo(machine string, args ...string) result {
	o.t.Helper()
	return o.client("ssh", "", append([]string{lab.Me() + "@" + machine + ".lanyard.internal"}, args...)...)
}

// openWindows makes the Windows machine.
func openWindows(t *testing.T) *wine.Machine {
	t.Helper()
	m, err := wine.Open(within(t, 9*time.Minute), build)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(m.Path(`C:\ProgramData\Lanyard\default\service.log`))
			t.Logf("the Windows service's log:\n%s", log)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// status is what a program of the Windows machine says of its service.
func status(ctx context.Context, m *wine.Machine, program string) (*lab.Status, error) {
	out, err := m.Run(ctx, program, "status", "--json")
	if err != nil {
		return nil, err
	}
	var s lab.Status
	return &s, json.Unmarshal([]byte(out), &s)
}

// serves waits until the Windows machine serves SSH.
func serves(t *testing.T, m *wine.Machine, program string) *lab.Status {
	t.Helper()
	ctx := within(t, 3*time.Minute)
	var s *lab.Status
	if err := lab.Until(ctx, "the Windows machine to serve SSH", func() (err error) {
		if s, err = status(ctx, m, program); err == nil && !s.SSH.Serving {
			err = fmt.Errorf("state %s, ssh %+v", s.State, s.SSH)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

// within bounds a step; no test waits for ever.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
