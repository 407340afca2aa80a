//go:build linux

package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"lanyard/test/lab"
)

func median(d []time.Duration) time.Duration {
	s := slices.Sorted(slices.Values(d))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// abba times one run against each of two servers, interleaved A B, B A, ...; the first pair warms up and is dropped.
func (b *bench) abba(ctx context.Context, pairs int, one, other *server, run func(*server) (time.Duration, error)) (x, y time.Duration, err error) {
	var times [2][]time.Duration
	for i := range pairs + 1 {
		order := []int{0, 1}
		if i%2 == 1 {
			order = []int{1, 0}
		}
		for _, k := range order {
			if err := ctx.Err(); err != nil {
				return 0, 0, err
			}
			s := []*server{one, other}[k]
			if err := b.aim(ctx, s); err != nil {
				return 0, 0, err
			}
			d, err := run(s)
			if err != nil {
				return 0, 0, fmt.Errorf("%s: %w", s.name, err)
			}
			if i > 0 {
				times[k] = append(times[k], d)
			}
		}
	}
	return median(times[0]), median(times[1]), nil
}

// ssh is the argv of the machine's ssh to s without the drop-in. Options may stand among args.
func (b *bench) ssh(s *server, args ...string) []string {
	return append([]string{"ssh", "-F", b.config, s.name}, args...)
}

func (b *bench) wall(o order) (time.Duration, error) {
	a, err := b.worker.do(o)
	return a.Wall, err
}

// connecting is `ssh host true`, from the command to its end.
func (b *bench) connecting(ctx context.Context, r *results, pairs int) error {
	for _, rival := range []*server{b.nopam, b.stock} {
		for _, prepare := range []bool{false, true} {
			name := "ssh_true"
			if prepare {
				name += "_prepare"
			}
			if rival == b.stock {
				name += "_stock"
			}
			if !r.wants(name) {
				continue
			}
			x, y, err := b.abba(ctx, pairs, b.lanyard, rival, func(s *server) (time.Duration, error) {
				argv := b.ssh(s, "true")
				if prepare && s == b.lanyard {
					argv = []string{"ssh", "-o", "KexAlgorithms=" + kex, "-o", "Ciphers=" + cipher, b.target, "true"}
				}
				return b.wall(order{Argv: argv})
			})
			if err != nil {
				return err
			}
			r.add(name, float64(x)/float64(y), "%.1f ms : %.1f ms", ms(x), ms(y))
		}
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// handshakes is the CPU time that the server spends on a connection up to the end of authentication. The daemon also
// carries the tunnel, for sshd's connections as for its own: what it spends while sshd answers is the tunnel's share,
// which cpu_handshake leaves out on both sides and cpu_handshake_with_tunnel counts on both.
func (b *bench) handshakes(ctx context.Context, r *results, pairs int) error {
	for _, rival := range []*server{b.nopam, b.stock} {
		name, each1 := "cpu_handshake", "handshakes_per_cpu"
		if rival == b.stock {
			name, each1 = name+"_stock", each1+"_stock"
		}
		if !r.wants(name) && !r.wants(each1) {
			continue
		}
		const batch = 20
		var lanyard, tunnel, sshd time.Duration
		n := 0
		for i := range pairs {
			order := []*server{b.lanyard, rival}
			if i%2 == 1 {
				slices.Reverse(order)
			}
			for _, s := range order {
				if err := b.aim(ctx, s); err != nil {
					return err
				}
				daemon, own := cpu(b.lanyard.pid), cpu(rival.pid)
				if err := b.dial(s, batch, false, false); err != nil {
					return err
				}
				time.Sleep(100 * time.Millisecond) // the last connection's processes are still ending
				daemon, own = cpu(b.lanyard.pid)-daemon, cpu(rival.pid)-own
				if s == b.lanyard {
					lanyard += daemon
				} else {
					tunnel, sshd = tunnel+daemon, sshd+own
				}
			}
			n += batch
		}
		each := func(d time.Duration) float64 { return ms(d) / float64(n) }
		r.add(name, float64(lanyard-tunnel)/float64(sshd), "%.2f ms : %.2f ms", each(lanyard-tunnel), each(sshd))
		r.add(each1, float64(sshd)/float64(lanyard-tunnel), "%.0f : %.0f a second of one processor", 1000/each(lanyard-tunnel), 1000/each(sshd))
		r.add(strings.Replace(name, "handshake", "handshake_with_tunnel", 1), float64(lanyard)/float64(tunnel+sshd),
			"%.2f ms : %.2f ms, of both %.2f ms for the tunnel", each(lanyard), each(tunnel+sshd), each(tunnel))
	}
	return nil
}

func (b *bench) dial(s *server, times int, pty, keep bool) error {
	o := order{Dial: b.overlay + ":22", Key: b.key, PTY: pty, Keep: keep, Times: times}
	if s == b.lanyard {
		o.Cert = b.cert
	}
	_, err := b.worker.do(o)
	return err
}

// bulkSize is what each throughput is measured with.
const bulkSize = 64 << 20

// files makes what is transferred.
func (b *bench) files(ctx context.Context) error {
	sized := fmt.Sprint(bulkSize)
	if err := b.web.Run(ctx, "deploy", "bash", "-c", "head -c "+sized+" /dev/zero >/tmp/down"); err != nil {
		return err
	}
	if err := b.laptop.Run(ctx, "ann", "bash", "-c", "head -c "+sized+" /dev/zero >/tmp/up"); err != nil {
		return err
	}
	for name, batch := range map[string]string{"get": "get /tmp/down /dev/null\n", "put": "put /tmp/up /tmp/up\n"} {
		if err := b.laptop.Write("/tmp/batch-"+name, "ann", 0o600, []byte(batch)); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) get(s *server) order {
	return order{Argv: []string{"sftp", "-q", "-F", b.config, "-b", "/tmp/batch-get", s.name}}
}

func mibs(d time.Duration) float64 { return bulkSize / (1 << 20) / d.Seconds() }

// bulk is throughput, each way, by sftp, by exec and through a forward. The time includes the connection, as a user's
// does.
func (b *bench) bulk(ctx context.Context, r *results, pairs int) error {
	const size = bulkSize
	sized := fmt.Sprint(size)
	if err := b.files(ctx); err != nil {
		return err
	}
	for _, m := range []struct {
		name string
		make func(*server) order
	}{
		{"sftp_get", b.get},
		{"sftp_put", func(s *server) order {
			return order{Argv: []string{"sftp", "-q", "-F", b.config, "-b", "/tmp/batch-put", s.name}}
		}},
		{"exec_down", func(s *server) order { return order{Argv: b.ssh(s, "head -c "+sized+" /dev/zero")} }},
		{"exec_up", func(s *server) order { return order{Argv: b.ssh(s, "cat >/dev/null"), Input: size} }},
		{"forward_down", func(s *server) order { return order{Argv: b.ssh(s, "-W", sourceAddr)} }},
		{"forward_up", func(s *server) order { return order{Argv: b.ssh(s, "-W", sinkAddr), Input: size} }},
	} {
		if !r.wants(m.name) {
			continue
		}
		x, y, err := b.abba(ctx, pairs, b.lanyard, b.nopam, func(s *server) (time.Duration, error) { return b.wall(m.make(s)) })
		if err != nil {
			return err
		}
		r.add(m.name, float64(y)/float64(x), "%.0f MiB/s : %.0f MiB/s", mibs(x), mibs(y))
	}
	return nil
}

// helper finds the program that the drop-in's Match block calls.
var helper = regexp.MustCompile(`(?m)^\s*Match .*exec "([^"]+)"`)

// peers is how many machines the drop-in knows while its cost is measured.
const peers = 200

// prepare is the processor time of what every ssh of the client pays, with a drop-in of 200 machines. prepare_cpu is the
// helper when there is nothing to do, against /bin/true; prepare_cpu_shell is both by the account's shell, as ssh runs the
// helper; prepare_cpu_with_shell is the helper by the shell against /bin/true without. peers_250_ms is no ratio: what an ssh -G to another host pays for 250 machines, in ms, beside one without the
// drop-in.
func (b *bench) prepare(ctx context.Context, r *results, pairs int) error {
	if !r.wants("prepare_cpu") && !r.wants("prepare_cpu_shell") && !r.wants("peers_250_ms") {
		return nil
	}
	text, err := b.laptop.Output(ctx, "ann", "cat", "/etc/ssh/ssh_config.d/20-lanyard.conf")
	if err != nil {
		return err
	}
	if text, err = lab.Grow(text, peers); err != nil {
		return err
	}
	for name, text := range map[string]string{"/tmp/grown": text, "/tmp/none": "Match all\n"} {
		if err := b.laptop.Write(name, "ann", 0o600, []byte(text)); err != nil {
			return err
		}
	}
	m := helper.FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("the drop-in calls no helper:\n%s", text)
	}
	call := strings.ReplaceAll(m[1], "%h", b.overlay)
	const shell = "/bin/bash"
	help, idle := strings.Fields(call), []string{"/bin/true"}
	x, y, err := b.cpus(pairs, help, idle)
	if err != nil {
		return err
	}
	r.add("prepare_cpu", float64(x)/float64(y), "%.2f ms : %.2f ms", ms(x), ms(y))
	if x, y, err = b.cpus(pairs, []string{shell, "-c", call}, []string{shell, "-c", "/bin/true"}); err != nil {
		return err
	}
	r.add("prepare_cpu_shell", float64(x)/float64(y), "%.2f ms : %.2f ms", ms(x), ms(y))
	if x, y, err = b.cpus(pairs, []string{shell, "-c", call}, idle); err != nil {
		return err
	}
	r.add("prepare_cpu_with_shell", float64(x)/float64(y), "%.2f ms : %.2f ms", ms(x), ms(y))
	other := func(config string) []string { return []string{"ssh", "-T", "-F", config, "-G", "example.org"} }
	if x, y, err = b.cpus(pairs, other("/tmp/grown"), other("/tmp/none")); err != nil {
		return err
	}
	r.add("peers_250_ms", ms(x-y)*250/peers, "%.2f ms : %.2f ms, %d machines", ms(x), ms(y), peers)
	return nil
}

// cpus is the median processor time of two programs, run in turns.
func (b *bench) cpus(pairs int, one, other []string) (x, y time.Duration, err error) {
	const batch = 10
	var times [2][]time.Duration
	for range pairs {
		for _, k := range []int{0, 1, 1, 0} {
			a, err := b.worker.do(order{Argv: [][]string{one, other}[k], Times: batch})
			if err != nil {
				return 0, 0, err
			}
			times[k] = append(times[k], a.CPU/batch)
		}
	}
	return median(times[0]), median(times[1]), nil
}
