//go:build linux

package packages

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// speedScript times `ssh HOST true` at both servers in turn, A B, B A, ..., and prints "NAME MICROSECONDS" for each. The nft
// set of web says whose turn it is.
const speedScript = `#!/bin/bash
now() { echo ${EPOCHREALTIME/./}; }
for ((i = 0; i <= $1; i++)); do
	if ((i % 2)); then order="sshd lanyard"; else order="lanyard sshd"; fi
	for s in $order; do
		echo $s >/var/tmp/turn/want
		until [ "$(cat /var/tmp/turn/is)" = $s ]; do sleep 0.01; done
		began=$(now)
		ssh -F /var/tmp/turn/config $s true </dev/null || exit 1
		ended=$(now)
		((i == 0)) || echo "$s $((ended - began))"
	done
done
`

// ssh to a booted machine, where sessions of both servers are made known to the login manager and get the limits and
// variables of the same PAM configuration. BENCH_PAIRS is the number of pairs; `make bench` reads the last line.
func TestSessionsOfABootedMachineBeginFasterThanOpenSSHs(t *testing.T) {
	t.Parallel() // `make bench` runs it alone
	w := newTown(t)
	one, _ := releases(t)
	_, web, runner := network(t, w, one)
	const target = "deploy@web-1.lanyard.internal"
	until(t, 120*time.Second, "ssh", func() error {
		out, err := runner.as("ansible", "ssh", target, "echo $XDG_SESSION_ID")
		if err == nil && strings.TrimSpace(out) == "" {
			err = fmt.Errorf("the session is not the login manager's\n%s", web.journal())
		}
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	certs, err := filepath.Glob(filepath.Join(runner.root, "/home/ansible/.ssh/lanyard-*-cert.pub"))
	if err != nil || len(certs) != 1 {
		t.Fatal("the certificate is not where it should be:", certs, err)
	}
	cert := strings.TrimPrefix(certs[0], runner.root)
	key := strings.TrimSuffix(cert, "-cert.pub")
	// The same key for the same account, by the same way through the tunnel.
	web.write("/etc/ssh/speed_keys", runner.do("ssh-keygen", "-y", "-f", key))
	web.write("/etc/ssh/sshd_config.d/speed.conf", "Port 2222\nAuthorizedKeysFile /etc/ssh/speed_keys\nMaxStartups 1000:30:2000\n")
	web.do("systemctl", "restart", "ssh")
	addr := func(b *box) string {
		f := strings.Fields(b.do("ip", "-4", "-oneline", "address", "show", "lanyard0"))
		return strings.Split(f[slices.Index(f, "inet")+1], "/")[0]
	}
	overlay, from := addr(web), addr(runner)
	nft := func(script string) string {
		return run(t, "nsenter", "--target", web.leader, "--net", "nft", script)
	}
	nft("table ip speed {\nset sshd { type ipv4_addr; }\nchain pre {\ntype nat hook prerouting priority dstnat; policy accept;\n" +
		"ip saddr @sshd tcp dport 22022 redirect to :2222\n}\n}\n")
	runner.do("install", "-d", "-m", "1777", "/var/tmp/turn")
	var config string
	for _, name := range []string{"lanyard", "sshd"} {
		config += fmt.Sprintf("Host %s\n\tHostName %s\n\tUser deploy\n\tIdentityFile %s\n\tIdentitiesOnly yes\n\tStrictHostKeyChecking no\n"+
			"\tUserKnownHostsFile /var/tmp/turn/known-%s\n\tLogLevel ERROR\n\tKexAlgorithms curve25519-sha256\n\tCiphers aes128-gcm@openssh.com\n"+
			"\tHostKeyAlgorithms ssh-ed25519\n", name, overlay, key, name)
		if name == "lanyard" {
			config += "\tCertificateFile " + cert + "\n"
		} else {
			config += "\tCertificateFile none\n\tPubkeyAcceptedAlgorithms ssh-ed25519\n"
		}
	}
	runner.write("/var/tmp/turn/config", config)
	runner.write("/var/tmp/turn/script", speedScript)
	runner.write("/var/tmp/turn/is", "")
	rounds := []int{5, 15, 60} // what else this machine does may spoil a few
	if s := os.Getenv("BENCH_PAIRS"); s != "" {
		pairs, err := strconv.Atoi(s)
		if err != nil || pairs < 1 {
			t.Fatalf("BENCH_PAIRS=%q is not a number of pairs", s)
		}
		rounds = []int{pairs}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
	defer cancel()
	stop := make(chan struct{})
	turning := make(chan error, 1)
	go func() { // the machine's turn follows what the script wants
		is := ""
		for {
			select {
			case <-stop:
				turning <- nil
				return
			case <-time.After(5 * time.Millisecond):
			}
			b, _ := os.ReadFile(filepath.Join(runner.root, "/var/tmp/turn/want"))
			want := strings.TrimSpace(string(b))
			if want == is || want == "" {
				continue
			}
			change := "flush set ip speed sshd"
			if want == "sshd" {
				change += "; add element ip speed sshd { " + from + " }"
			}
			out, err := exec.CommandContext(ctx, "nsenter", "--target", web.leader, "--net", "nft", change).CombinedOutput()
			if err != nil {
				turning <- fmt.Errorf("nft: %w: %s", err, out)
				cancel() // of the script that waits for its turn
				return
			}
			is = want
			if err := os.WriteFile(filepath.Join(runner.root, "/var/tmp/turn/is"), []byte(want), 0o644); err != nil {
				turning <- err
				return
			}
		}
	}()
	times, made := map[string][]int{}, 0
	measure := func(pairs int) {
		t.Helper()
		said, err := runner.command(ctx, "runuser", "-u", "ansible", "--", "env", "HOME=/home/ansible", "bash", "/var/tmp/turn/script", strconv.Itoa(pairs)).CombinedOutput()
		out := string(said)
		if err != nil {
			close(stop)
			t.Fatalf("%v %v\n%s\n%s", err, <-turning, out, web.journal())
		}
		for l := range strings.Lines(out) {
			name, us, _ := strings.Cut(strings.TrimSpace(l), " ")
			n, err := strconv.Atoi(us)
			if err != nil {
				t.Fatalf("the script said %q", out)
			}
			times[name] = append(times[name], n)
		}
		made += pairs
	}
	median := func(name string) float64 {
		s := times[name]
		if len(s) != made {
			t.Fatalf("%d of %d runs at %s", len(s), made, name)
		}
		slices.Sort(s)
		return float64(s[(len(s)-1)/2]+s[len(s)/2]) / 2000
	}
	var x, y float64
	for _, pairs := range rounds {
		measure(pairs)
		if x, y = median("lanyard"), median("sshd"); x <= y {
			break
		}
		t.Logf("after %d pairs %.1f ms : %.1f ms", made, x, y)
	}
	close(stop)
	if err := <-turning; err != nil {
		t.Fatal(err)
	}
	t.Logf("ssh_true_logind %.3f   %.1f ms : %.1f ms", x/y, x, y)
	if x > y {
		t.Errorf("a session takes %.1f ms, OpenSSH's %.1f ms", x, y)
	}
}
