//go:build linux

// Package e2e holds the tests of the whole: built programs, real OpenSSH, a scripted browser, pretended machines.
package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
)

func TestMain(m *testing.M) {
	lab.Main()
	if pid := os.Getenv(agentEnv); pid != "" {
		fmt.Println(runAgent(pid))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// The machines and the people.
const (
	office = "office" // management server
	laptop = "laptop" // ann's and bob's
	desk   = "desk"   // carol's
	web    = "web-1"  // serves SSH
)

var people = map[string]lab.Person{
	"ann":   {Email: "ann@example.com", Password: "ann has a long password"},
	"bob":   {Email: "bob@example.com", Password: "bob has a long password"},
	"carol": {Email: "carol@example.com", Password: "carol has a long password"},
}

// world is a network with people: ann and bob may be deploy on web-1 by their group, carol by a policy of her own.
type world struct {
	t      *testing.T
	lab    *lab.Lab
	mgmt   *lab.Mgmt
	peers  map[string]*lab.Peer
	target string // user@name, for ssh
	as     string
}

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network and mount namespaces")
	}
}

// within bounds a step; no test waits for ever.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// open starts the world. rootless: folders instead of namespaces, whoever runs the test. more are further machines,
// without Lanyard so far.
func open(t *testing.T, rootless bool, more ...string) *world {
	t.Helper()
	ctx := within(t, 6*time.Minute)
	l, err := lab.Open(ctx, lab.Options{
		Bin: filepath.Join("..", "..", ".build", "bin"), Machines: append([]string{office, laptop, desk, web}, more...),
		Accounts: []string{"ann", "bob", "carol", "deploy"}, User: rootless,
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
	w := &world{t: t, lab: l, peers: map[string]*lab.Peer{}, as: "deploy"}
	if !l.Root {
		w.as = lab.Me()
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w.mgmt, err = l.StartMgmt(ctx, office)
	must(err)
	for name, p := range people {
		must(w.mgmt.AddUser(ctx, p.Email, name, p.Password))
	}
	_, err = w.mgmt.Admin(ctx, "group", "add", "web-team", people["ann"].Email, people["bob"].Email)
	must(err)
	must(w.mgmt.AddPolicy(ctx, "web", "group:web-team", "tag:web", w.as))
	must(w.mgmt.AddPolicy(ctx, "carol", "user:"+people["carol"].Email, "tag:web", w.as))
	w.peers[web], err = w.mgmt.Enrol(ctx, web, lab.Joining{Tags: []string{"tag:web"}, SSH: true})
	must(err)
	for _, name := range []string{laptop, desk} {
		w.peers[name], err = w.mgmt.Enrol(ctx, name, lab.Joining{Tags: []string{"tag:" + name}})
		must(err)
	}
	must(w.peers[web].Serves(ctx))
	for _, name := range []string{laptop, desk} {
		must(w.peers[name].Knows(ctx, web))
	}
	name, err := w.peers[laptop].SSHName(ctx, web)
	must(err)
	w.target = w.as + "@" + name
	return w
}

// on is the same world for a subtest.
func (w *world) on(t *testing.T) *world {
	sub := *w
	sub.t = t
	return &sub
}

// login signs somebody in on their machine.
func (w *world) login(person string) {
	w.t.Helper()
	machine := laptop
	if person == "carol" {
		machine = desk
	}
	if out, err := w.peers[machine].Login(within(w.t, 2*time.Minute), w.account(person), people[person]); err != nil {
		w.t.Fatalf("%v\n%s", err, out)
	}
}

func (w *world) account(person string) string {
	if !w.lab.Root {
		return lab.Me()
	}
	return person
}

func (w *world) machine(person string) *lab.Peer {
	if person == "carol" {
		return w.peers[desk]
	}
	return w.peers[laptop]
}

// result of a program that has ended.
type result struct {
	out, err string
	code     int
}

func (r result) String() string {
	return fmt.Sprintf("exit status %d\nstdout: %s\nstderr: %s", r.code, r.out, r.err)
}

func finish(c *exec.Cmd) result {
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	return result{out: out.String(), err: errs.String(), code: lab.ExitCode(err)}
}

// ssh runs a command on web-1 as somebody and returns how it went.
func (w *world) ssh(person string, args ...string) result {
	w.t.Helper()
	return finish(w.machine(person).SSH(within(w.t, 90*time.Second), w.account(person), "ssh", append([]string{w.target}, args...)...))
}

// admin runs an admin command that must succeed.
func (w *world) admin(args ...string) string {
	w.t.Helper()
	out, err := w.mgmt.Admin(within(w.t, 60*time.Second), args...)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// live is a session that stays open, with processes that try to get away.
type live struct {
	*lab.Process
	w      *world
	marker string
	opened time.Time
}

var sessionOpen = regexp.MustCompile(`session open`)

// open starts a live session of somebody's. Its process tree carries a marker: a child, a grandchild whose parent
// has gone, and one in a session of its own.
func (w *world) open(person string) *live {
	w.t.Helper()
	return w.openAt(w.machine(person), person)
}

func (w *world) openAt(at *lab.Peer, person string) *live {
	w.t.Helper()
	s := &live{w: w, marker: fmt.Sprintf("31%d.%d", time.Now().UnixNano()%1e9, os.Getpid()), opened: time.Now()}
	command := fmt.Sprintf("sleep %[1]s & (sleep %[1]s &) ; setsid sleep %[1]s </dev/null >/dev/null 2>&1 & nohup setsid -f sleep %[1]s >/dev/null 2>&1; echo session open; sleep %[1]s", s.marker)
	c := at.SSH(context.Background(), w.account(person), "ssh", w.target, command)
	var err error
	s.Process, err = at.StartCommand("live-"+person+"-"+s.marker, c)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := s.Match(within(w.t, 60*time.Second), sessionOpen); err != nil {
		w.t.Fatal(err)
	}
	if err := lab.Until(within(w.t, 60*time.Second), "the session's processes", func() error {
		if n := s.processes(); n < 5 {
			return fmt.Errorf("%d of 5 are there", n)
		}
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	return s
}

// processes counts the living processes that carry the session's marker, on the server and nowhere else.
func (s *live) processes() (n int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		cmd, err := os.ReadFile(filepath.Join(d, "cmdline"))
		if err != nil || !bytes.HasPrefix(cmd, []byte("sleep\x00"+s.marker)) {
			continue
		}
		if stat, err := os.ReadFile(filepath.Join(d, "stat")); err == nil && !bytes.Contains(stat, []byte(") Z ")) {
			n++
		}
	}
	return n
}

// alive reports whether the session is still there.
func (s *live) alive() bool {
	select {
	case <-s.Done():
		return false
	default:
		return s.processes() >= 5
	}
}

// hang is how long a test waits for what has no bound of its own.
const hang = time.Minute

// endsInTime waits for the end of the session and its processes, which is promised within a second of the watch's start;
// that this machine holds programs up longer is no fault of theirs.
func (s *live) endsInTime(watch *lab.Stopwatch) (ssh, tree time.Duration, err error) {
	return s.endsWithin(watch, time.Second)
}

// endsWithin is endsInTime with another bound.
func (s *live) endsWithin(watch *lab.Stopwatch, most time.Duration) (ssh, tree time.Duration, err error) {
	ssh, tree, err = s.ended(watch.Began(), most+hang)
	if took := watch.Less(tree); err == nil && took > most {
		err = fmt.Errorf("ssh ended after %s, its processes after %s, of which this machine held programs up for %s; want within %s", ssh, tree, tree-took, most)
	}
	return ssh, tree, err
}

// mayMiss reports whether a machine may have been too late for an answer that began with the watch and is there now, which
// says so then: it waits for the machines for a second, of which others' programs took a good part.
func mayMiss(watch *lab.Stopwatch) bool {
	all := time.Since(watch.Began())
	return all > time.Second && all-watch.Less(all) > 400*time.Millisecond
}

// ended waits for the end of the session and its processes, and returns how long both took from since.
func (s *live) ended(since time.Time, limit time.Duration) (ssh, tree time.Duration, err error) {
	deadline := time.NewTimer(time.Until(since.Add(limit)))
	defer deadline.Stop()
	select {
	case <-s.Done():
		ssh = time.Since(since)
	case <-deadline.C:
		return 0, 0, fmt.Errorf("the session is still there %s later\n%s", limit, s.Text())
	}
	for s.processes() > 0 {
		if time.Since(since) > limit {
			return ssh, 0, fmt.Errorf("%d of the session's processes are still there %s later", s.processes(), limit)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return ssh, time.Since(since), nil
}

// check that an ended session's ssh exited with 255 and told the reason.
func (s *live) check(reason string) error {
	var errs []error
	if code := lab.ExitCode(s.Err()); code != 255 {
		errs = append(errs, fmt.Errorf("ssh exited with %d, want 255", code))
	}
	if !strings.Contains(s.Text(), "["+reason+"]") {
		errs = append(errs, fmt.Errorf("ssh printed no [%s]: %q", reason, s.Text()))
	}
	return errors.Join(errs...)
}
