//go:build linux

// Bench compares Lanyard's SSH server with OpenSSH's sshd, behind the same tunnel of the same machine.
//
// The machines are those of the demo. On the server peer run the shipped daemon, with policy, audit and spool, and
// two sshds: one with "UsePAM no" and one as Debian ships it. The daemon's packet filter lets port 22 of the overlay
// address in and rewrites it to 22022, for Lanyard; while sshd is measured, a rule of the pretended machine's own
// nftables hands those rewritten packets on to sshd's port. So both are reached by the same client at the same address,
// through the same WireGuard, filter and interface; both pay for the connection tracking that the rule needs.
//
// Runs are interleaved A B, B A, A B, ...; a ratio is that of the medians, Lanyard to sshd: below 1 is better for time, CPU and
// memory, above 1 for speed (sftp_, exec_, forward_, rsync_, git_ and handshakes_per_cpu). peers_250_ms is in ms.
//
// It exits with 1 when a goal is missed, after everything was measured and written.
//
//	BENCH_PAIRS=30       pairs of each timed run
//	BENCH_JSON=FILE      {name: ratio}
//	BENCH_ONLY=a,b       only these names
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"lanyard/test/lab"
)

func main() {
	lab.Main()
	bin := flag.String("bin", ".build/bin", "folder of the built programs")
	flag.Parse()
	if flag.Arg(0) == "ends" {
		fmt.Fprintln(os.Stderr, "ends:", serveEnds())
		os.Exit(1)
	}
	if flag.Arg(0) == "worker" {
		if err := work(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "worker:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *bin); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// goal of a ratio; throughputs want at least, all else at most.
type goal struct {
	ratio   float64
	atLeast bool
}

var goals = map[string]goal{
	"ssh_true": {0.25, false}, "ssh_true_prepare": {0.45, false}, "cpu_handshake": {0.12, false}, "handshakes_per_cpu": {10, true},
	"sftp_get": {1.1, true}, "sftp_put": {1.0, true}, "exec_down": {1.0, true}, "exec_up": {0.85, true},
	"forward_down": {1.2, true}, "forward_up": {0.6, true},
	"sftp_get_50ms": {1.0, true}, "rsync_10k_files": {1.0, true}, "git_clone": {1.0, true},
	"mem_idle": {0.1, false}, "mem_pty": {0.2, false}, "prepare_cpu": {5, false},
	"prepare_cpu_shell": {2.5, false}, "peers_250_ms": {1, false},
}

// results in the order in which they were measured.
type results struct {
	names  []string
	ratios map[string]float64
	only   []string
	missed []string // goals
}

func (r *results) wants(name string) bool {
	return len(r.only) == 0 || slices.Contains(r.only, name)
}

// add records a ratio of Lanyard's figure a to sshd's b and prints it.
func (r *results) add(name string, ratio float64, format string, args ...any) {
	verdict := ""
	if g, ok := goals[name]; ok {
		met, sign := ratio <= g.ratio, "<="
		if g.atLeast {
			met, sign = ratio >= g.ratio, ">="
		}
		verdict = fmt.Sprintf("goal %s %.2f", sign, g.ratio)
		if !met {
			verdict += "  MISSED"
			r.missed = append(r.missed, name)
		}
	}
	r.names = append(r.names, name)
	r.ratios[name] = ratio
	fmt.Printf("%-24s %7.3f   %-22s %s\n", name, ratio, verdict, fmt.Sprintf(format, args...))
}

func run(ctx context.Context, bin string) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("run it as root: both servers need a kernel tunnel and accounts")
	}
	pairs := 30
	if s := os.Getenv("BENCH_PAIRS"); s != "" {
		if pairs, err = strconv.Atoi(s); err != nil || pairs < 1 {
			return fmt.Errorf("BENCH_PAIRS=%q is not a number of pairs", s)
		}
	}
	r := &results{ratios: map[string]float64{}}
	if s := os.Getenv("BENCH_ONLY"); s != "" {
		r.only = strings.Split(s, ",")
	}
	start := time.Now()
	b, err := open(ctx, bin)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && !errors.Is(err, errMissed) {
			fmt.Fprint(os.Stderr, b.lab.Logs(30))
		}
		err = errors.Join(err, b.close())
	}()
	fmt.Printf("Lanyard to OpenSSH's sshd (%s), %d pairs, %s, %s, same tunnel; ratios of medians\n\n", b.version, pairs, kex, cipher)
	for _, measure := range []func(context.Context, *results, int) error{b.connecting, b.handshakes, b.bulk, b.programs, b.distance, b.memory, b.prepare, b.booted} {
		if err := measure(ctx, r, pairs); err != nil {
			return err
		}
	}
	fmt.Printf("\n%.0f s\n", time.Since(start).Seconds())
	return r.write(os.Getenv("BENCH_JSON"))
}

var errMissed = errors.New("goals were missed")

// write writes the ratios to a file, unless it has no name, and returns what goals were missed.
func (r *results) write(name string) error {
	if name != "" {
		out, err := json.MarshalIndent(r.ratios, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(name, append(out, '\n'), 0o644); err != nil {
			return err
		}
	}
	if len(r.missed) > 0 {
		return fmt.Errorf("%w: %s", errMissed, strings.Join(r.missed, " "))
	}
	return nil
}
