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
			// A desktop and no terminal, as from an IDE.
			c := w.peers[laptop].SSH(within(t, 60*time.Second), "ann", "setsid", "-w", "ssh", w.target, "echo reached")
			c.Env = append(c.Env, env...)
			results[i] = finish(c)
		})
	}
	all.Wait()
	for i, r := range results {
		if r.code != 0 || r.out != "reached\n" {
			t.Errorf("ssh %d: %s", i, r)
		}
	}
	log, err := os.ReadFile(w.mgmt.Process.Log)
	if err != nil {
		t.Fatal(err)
	}
	if tabs := strings.Count(string(log), "a browser opened a sign-in"); tabs != 1 {
		t.Errorf("the provider saw %d browsers, want 1:\n%s", tabs, log)
	}
}
