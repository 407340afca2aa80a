//go:build linux

package e2e

import (
	"path/filepath"
	"regexp"
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
	if program, _, _ := strings.Cut(call[1], " "); filepath.Base(program) != "lanyard-helper" {
		t.Errorf("the drop-in calls %s", call[1])
	}
	// The shell that ssh runs the helper by costs what it costs; `make bench` holds both together against /bin/true. Both bounds
	// are in such programs, which cost more on a slow machine, too: 0.6 ms each on that where they were set. What is measured
	// is many times as long as what it varies by.
	const most, mostAdded = 4.0, thousands / 150.0
	const helpers, others = 10, 5
	helped, bare, idle, added, plain := time.Hour, time.Hour, time.Hour, time.Hour, time.Hour
	costs := func(with, without time.Duration, n int) float64 {
		return float64(with-without) / float64(n) / float64(idle)
	}
	ratio := func() float64 { return costs(helped, bare, helpers) }
	names := func() float64 { return costs(added, plain, others) }
	times := func(n int, command string) time.Duration {
		return cpu("/bin/sh", "-c", strings.Repeat(command+" >/dev/null && ", n)+":")
	}
	other := func(config string) time.Duration { return times(others, "ssh -T -F "+config+" -G example.org") }
	for n := 0; n < 20 || n < 150 && (ratio() > most || names() > mostAdded); n++ {
		helped, bare = min(helped, times(helpers, call[1]+" 100.110.100.3")), min(bare, times(helpers, ":"))
		idle = min(idle, cpu("/bin/true"))
		added, plain = min(added, other(many)), min(plain, other(without))
	}
	t.Logf("the helper costs %.2f x /bin/true (%s); %d machines add %.1f x as much to ssh -G (%s)", ratio(), idle, thousands, names(), (added-plain)/others)
	if ratio() > most {
		t.Errorf("the helper costs %.2f times /bin/true, want at most %.0f", ratio(), most)
	}
	if names() > mostAdded {
		t.Errorf("an unrelated host pays %.1f times /bin/true for %d machines, want at most %.0f", names(), thousands, mostAdded)
	}
}
