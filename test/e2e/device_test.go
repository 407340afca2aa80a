//go:build linux

package e2e

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
)

// A person on a machine without a browser types a code on another one.
func TestDeviceLogin(t *testing.T) {
	w := open(t, os.Geteuid() != 0)
	begin := func(t *testing.T) *lab.Process {
		t.Helper()
		p, err := w.peers[laptop].StartCommand("login-device-"+time.Now().Format("150405.000000"),
			w.peers[laptop].Command(context.Background(), w.account("ann"), w.lab.Program("lanyard"), "login", "--device"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Kill)
		return p
	}
	code := func(t *testing.T, p *lab.Process) string {
		t.Helper()
		m, err := p.Match(within(t, 60*time.Second), shownCode)
		if err != nil {
			t.Fatal(err)
		}
		return m[1]
	}
	t.Run("five wrong tries", func(t *testing.T) {
		p := begin(t)
		good := code(t, p)
		last := "B"
		if strings.HasSuffix(good, last) {
			last = "C"
		}
		for range 5 {
			if out, err := w.peers[desk].TypeCode(within(t, 90*time.Second), good[:8]+last, people["ann"]); err == nil || !strings.Contains(out, "no such code") {
				t.Fatalf("a wrong code: %v\n%s", err, out)
			}
		}
		if out, err := w.peers[desk].TypeCode(within(t, 90*time.Second), good, people["ann"]); err == nil || !strings.Contains(out, "no such code") {
			t.Errorf("the right code afterwards: %v\n%s", err, out)
		}
		select {
		case <-p.Done():
		case <-time.After(90 * time.Second):
			t.Fatalf("the login goes on waiting\n%s", p.Text())
		}
		if lab.ExitCode(p.Err()) == 0 || !strings.Contains(p.Text(), "start again for a new one") {
			t.Errorf("%v\n%s", p.Err(), p.Text())
		}
	})
	t.Run("the right code", func(t *testing.T) {
		p := begin(t)
		pages, err := w.peers[desk].TypeCode(within(t, 2*time.Minute), code(t, p), people["ann"])
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{laptop, w.account("ann")} {
			if !strings.Contains(pages, want) {
				t.Errorf("the pages do not name %s:\n%s", want, pages)
			}
		}
		select {
		case <-p.Done():
		case <-time.After(90 * time.Second):
			t.Fatalf("the login goes on waiting\n%s", p.Text())
		}
		if lab.ExitCode(p.Err()) != 0 || !strings.Contains(p.Text(), "You are ann <ann@example.com>.") {
			t.Fatalf("%v\n%s", p.Err(), p.Text())
		}
		if !strings.Contains(p.Text(), "Next: ") || !strings.Contains(p.Text(), "ssh web-1") {
			t.Errorf("what to type next is not said:\n%s", p.Text())
		}
		if r := w.ssh("ann", "echo for $LANYARD_USER"); r.code != 0 || r.out != "for ann@example.com\n" {
			t.Errorf("%s", r)
		}
	})
}
