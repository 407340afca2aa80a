//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
)

// helper finds what the drop-in's Match calls.
var helper = regexp.MustCompile(`(?m)^Match host \S+ exec "([^"]+) %h"`)

// What every ssh of the machine pays, in processor time: of the helper beside a program that does nothing, of the machines'
// names beside the same ssh without the drop-in. Names are counted in thousands: two ssh differ by more than 200 names cost.
func TestDropInOfTwoHundredMachinesCostsLittle(t *testing.T) {
	const machines, thousands = 200, 5000
	w := open(t, true)
	w.login("ann")
	m := w.machine("ann")
	own := filepath.Join(m.Scratch(), "state", "default", "ssh_config")
	text, err := m.Output(within(t, 60*time.Second), "", "cat", own)
	if err != nil {
		t.Fatal(err)
	}
	grown, err := lab.Grow(text, machines)
	if err != nil {
		t.Fatal(err)
	}
	vast, err := lab.Grow(text, thousands)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) string {
		name = filepath.Join(m.Scratch(), name)
		if err := m.Write(name, "", 0o600, []byte(text)); err != nil {
			t.Fatal(err)
		}
		return name
	}
	with, many, without := write("grown", grown), write("vast", vast), write("none", "Match all\n")
	call := helper.FindStringSubmatch(grown)
	if call == nil || strings.Count(grown, "\nHost ") != machines {
		t.Fatalf("the grown drop-in:\n%s", grown)
	}
	out, err := m.Output(within(t, 60*time.Second), "", "ssh", "-T", "-F", with, "-G", "machine-200")
	if err != nil || !strings.Contains(out, "stricthostkeychecking true") || !strings.Contains(out, "lanyard-default-") {
		t.Fatalf("the grown drop-in does not hold for its last machine: %v\n%s", err, out)
	}
	for host, want := range map[string]bool{"machine-200": true, "example.org": false} {
		out, err := m.Command(within(t, 60*time.Second), "", "ssh", "-v", "-T", "-F", with, "-G", host).CombinedOutput()
		if got := strings.Contains(string(out), "Executing command"); err != nil || got != want {
			t.Errorf("ssh -G %s: %v; a program was run: %v, want %v\n%s", host, err, got, want, out)
		}
	}
	// cpu is the least of many runs, made in turns: what else goes on here adds to it and never takes away.
	cpu := func(argv ...string) time.Duration {
		t.Helper()
		c := m.Command(within(t, 60*time.Second), "", argv...)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", argv, err, out)
		}
		return c.ProcessState.UserTime() + c.ProcessState.SystemTime()
	}
	entry, err := m.Output(within(t, 60*time.Second), "", "getent", "passwd", strconv.Itoa(os.Getuid()))
	if err != nil {
		t.Fatal(err)
	}
	shell := strings.TrimSpace(entry[strings.LastIndex(entry, ":")+1:])
	if program, _, _ := strings.Cut(call[1], " "); filepath.Base(program) != "lanyard-helper" {
		t.Errorf("the drop-in calls %s", call[1])
	}
	// The shell that ssh runs the helper by costs what it costs; `make bench` holds both together against /bin/true.
	const most = 4.0
	mostAdded := time.Millisecond * thousands / 250
	helped, idle, bare, added, plain := time.Hour, time.Hour, time.Hour, time.Hour, time.Hour
	ratio := func() float64 { return float64(helped-bare) / float64(idle) }
	const batch = 5
	other := func(config string) time.Duration {
		return cpu("/bin/sh", "-c", strings.Repeat("ssh -T -F "+config+" -G example.org >/dev/null;", batch)) / batch
	}
	for n := 0; n < 30 || n < 150 && (ratio() > most || added-plain > mostAdded); n++ {
		helped, bare = min(helped, cpu(shell, "-c", "exec "+call[1]+" 100.110.100.3")), min(bare, cpu(shell, "-c", ":"))
		idle = min(idle, cpu("/bin/true"))
		added, plain = min(added, other(many)), min(plain, other(without))
	}
	t.Logf("the helper: %.2f x /bin/true, with %s %.2f x (%s, of it %s for the shell, : %s); %d machines add %s to ssh -G",
		ratio(), shell, float64(helped)/float64(idle), helped, bare, idle, thousands, added-plain)
	if ratio() > most {
		t.Errorf("the helper costs %.2f times /bin/true, want at most %.0f", ratio(), most)
	}
	if added-plain > mostAdded {
		t.Errorf("an unrelated host pays %s for %d machines, want at most %s", added-plain, thousands, mostAdded)
	}
}
