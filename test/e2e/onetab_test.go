//go:build linux

package e2e

import (
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// Ten ssh at once while nobody is signed in: the provider sees one browser, and all ten go through after it.
func TestTenSSHOpenOneTab(t *testing.T) {
	needsRoot(t)
	w := open(t, false)
	env, done, err := w.peers[laptop].Browser("ann", people["ann"])
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	const n = 10
	results := make([]result, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			// Each in a terminal of its own.
			c := w.peers[laptop].SSH(within(t, 3*time.Minute), "ann", "script", "-qec", "ssh "+w.target+" echo reached", "/dev/null")
			c.Env = append(c.Env, env...)
			results[i] = finish(c)
		})
	}
	all.Wait()
	for i, r := range results {
		if r.code != 0 || !strings.HasSuffix(r.out, "reached\r\n") {
			t.Errorf("ssh %d: %s", i, r)
		}
	}
	if n := w.tabs(); n != 1 {
		t.Errorf("the provider saw %d browsers, want 1", n)
	}
}

// tabs counts the sign-ins that a browser opened at the provider so far.
func (w *world) tabs() int {
	w.t.Helper()
	log, err := os.ReadFile(w.mgmt.Process.Log)
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.Count(string(log), "a browser opened a sign-in")
}
