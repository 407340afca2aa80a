//go:build linux

package clients

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the table of clients into README")

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network and mount namespaces")
	}
}

// TestClients is the matrix: every case on a stock sshd first, then on Lanyard.
func TestClients(t *testing.T) {
	needsRoot(t)
	w := openWorld(t)
	var matrix strings.Builder
	row := func(name, does, sshd, lanyard string) {
		fmt.Fprintf(&matrix, "%-28s %-70s %-10s %s\n", name, does, sshd, lanyard)
	}
	row("CLIENT", "DOES", "SSHD", "LANYARD")
	for i, c := range clients {
		t.Run(c.name+": "+c.does, func(t *testing.T) {
			said := [2]string{"not tried", "not tried"}
			defer func() { row(c.name, c.does, said[0], said[1]) }()
			if err := missing(c.needs); err != nil {
				t.Fatalf("this machine has no %s: %v", c.needs, err)
			}
			for k, s := range w.servers {
				begin := time.Now()
				dir := fmt.Sprintf("c%d-%d", i, k)
				try := func() (string, error) { return w.try(t, s, dir, c.script) }
				if k == 1 && c.state == prompted {
					try = func() (string, error) { return w.tryPrompted(t, s, dir, c.prompt) }
				}
				if out, err := try(); err != nil {
					said[k] = "FAILS"
					t.Fatalf("on %s: %v\n%s", s.name, err, out)
				}
				said[k] = fmt.Sprintf("%.1f s", time.Since(begin).Seconds())
			}
		})
	}
	fmt.Print(matrix.String())
}

// caseTime bounds a case; Ansible's twenty forks take a minute on a busy machine.
const caseTime = 6 * time.Minute

func (w *world) try(t *testing.T, s server, dir, script string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), caseTime)
	defer cancel()
	return w.run(ctx, s, dir, script, nil)
}

// tryPrompted is try for a script that shows a code: ann signs in by it, with the browser of another machine.
func (w *world) tryPrompted(t *testing.T, s server, dir, script string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), caseTime)
	defer cancel()
	shown := &code{found: make(chan string, 1)}
	signed := make(chan error, 1)
	go func() {
		select {
		case code := <-shown.found:
			_, err := w.desk.TypeCode(ctx, code, ann)
			signed <- errors.Join(err, w.laptop.Write("/home/ann/"+dir+"/signed", "ann", 0o600, nil))
		case <-ctx.Done():
			signed <- errors.New("no code was shown")
		}
	}()
	out, err := w.run(ctx, s, dir, script, shown)
	cancel()
	return out, errors.Join(err, <-signed)
}

// code finds the code of a prompt in what is written to it.
type code struct {
	text  []byte
	found chan string
}

var shownCode = regexp.MustCompile(`type the code\s+([A-Z]{4}-[A-Z]{4})`)

func (c *code) Write(b []byte) (int, error) {
	c.text = append(c.text, b...)
	if m := shownCode.FindSubmatch(c.text); m != nil {
		select {
		case c.found <- string(m[1]):
		default:
		}
	}
	return len(b), nil
}

// missing says why a device that a case needs cannot be used here.
func missing(path string) error {
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return errors.Unwrap(err)
	}
	return f.Close()
}

const (
	tableBegin = "<!-- clients: made by go test ./test/clients -run TestReadme -update -->\n"
	tableEnd   = "<!-- /clients -->\n"
)

// table is what README says of the clients.
func table() string {
	var b strings.Builder
	b.WriteString("| client | tried | works |\n|---|---|---|\n")
	for _, c := range clients {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", c.name, c.does, c.state)
	}
	return b.String()
}

func TestReadmeTellsOfEveryClient(t *testing.T) {
	name := filepath.Join("..", "..", "README.md")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(data), tableBegin)
	old, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok1 || !ok2 {
		t.Fatalf("README has no %q ... %q", tableBegin, tableEnd)
	}
	if old == table() {
		return
	}
	if *update {
		if err := os.WriteFile(name, []byte(before+tableBegin+table()+tableEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("README's table of clients is not that of the cases; run go test ./test/clients -run TestReadme -update\n%s", table())
}

// auditWarnings are those that ssh-audit 2.5.0 gives because it is older than the algorithms.
var auditWarnings = map[string]bool{"mlkem768x25519-sha256": true, "kex-strict-s-v00@openssh.com": true}

var color = regexp.MustCompile(`\x1b\[[0-9;]*m`)

// ssh-audit finds nothing to complain of.
func TestSSHAuditFindsNothing(t *testing.T) {
	needsRoot(t)
	w := openWorld(t)
	out, err := w.try(t, w.servers[1], "", `ssh-audit -t 60 -p "$PORT" "$ADDR" || true`)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	seen := 0
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(color.ReplaceAllString(line, ""))
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "(kex)", "(key)", "(enc)", "(mac)":
			seen++
		}
		unknown := strings.Contains(line, "[warn] unknown algorithm") && auditWarnings[f[1]]
		if strings.Contains(line, "[fail]") || strings.Contains(line, "[warn]") && !unknown {
			t.Error(line)
		}
	}
	if seen < 10 {
		t.Errorf("ssh-audit looked at %d algorithms only:\n%s", seen, out)
	}
}
