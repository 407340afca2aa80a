//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"lanyard/test/lab"
)

// tick of the times in /proc (USER_HZ, 100 on every Linux that Go runs on).
const tick = time.Second / 100

// cpu is the user and system time of a process and of those of its children that it has waited for, the session's
// program included (proc(5), /proc/PID/stat fields 14 to 17).
func cpu(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	var sum int
	for _, field := range f[11:15] {
		n, _ := strconv.Atoi(field)
		sum += n
	}
	return time.Duration(sum) * tick
}

// tree lists pid and its descendants that run a program with the name exe.
func tree(pid int, exe string) (pids []int) {
	todo := []int{pid}
	for len(todo) > 0 {
		p := todo[0]
		todo = todo[1:]
		if to, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p)); err == nil && filepath.Base(to) == exe {
			pids = append(pids, p)
		}
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p))
		for _, t := range threads {
			b, _ := os.ReadFile(t)
			for _, c := range strings.Fields(string(b)) {
				if n, err := strconv.Atoi(c); err == nil {
					todo = append(todo, n)
				}
			}
		}
	}
	return pids
}

// pss is the proportional set size, in bytes, of a server's processes; the shells of sessions do not count.
func pss(s *server) (bytes int64, processes int) {
	for _, pid := range tree(s.pid, s.exe) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == "Pss:" {
				kb, _ := strconv.ParseInt(f[1], 10, 64)
				bytes += kb << 10
			}
		}
		processes++
	}
	return bytes, processes
}

// memory is what a connection costs: idle after authentication, and with a terminal. Lanyard's daemon is a fresh one
// and its runtime is not asked to tidy up.
func (b *bench) memory(ctx context.Context, r *results, _ int) error {
	for _, m := range []struct {
		name  string
		count int
		pty   bool
	}{{"mem_idle", 500, false}, {"mem_pty", 100, true}} {
		if !r.wants(m.name) {
			continue
		}
		each := map[*server]float64{}
		for _, s := range []*server{b.lanyard, b.nopam, b.stock} {
			if err := b.aim(ctx, s); err != nil {
				return err
			}
			if s == b.lanyard {
				// What earlier runs made of the heap would hide what connections need.
				if err := errors.Join(b.web.Daemon.Stop(), b.web.StartDaemon(ctx), b.web.Serves(ctx)); err != nil {
					return err
				}
				s.pid = b.web.Daemon.PID()
				if err := b.ready(ctx, s); err != nil {
					return err
				}
			}
			before, processes := pss(s)
			if err := b.dial(s, m.count, m.pty, true); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			time.Sleep(2 * time.Second) // what the last handshake needed is being given back
			after, _ := pss(s)
			each[s] = float64(after-before) / float64(m.count)
			if _, err := b.worker.do(order{Release: true}); err != nil {
				return err
			}
			wait, cancel := context.WithTimeout(ctx, 30*time.Second)
			err := lab.Until(wait, "the connections' end", func() error {
				if _, n := pss(s); n > processes {
					return errors.New("their processes are still there")
				}
				return nil
			})
			cancel()
			if err != nil {
				return err
			}
		}
		r.add(m.name, each[b.lanyard]/each[b.nopam], "%.0f kB : %.0f kB a connection", each[b.lanyard]/1000, each[b.nopam]/1000)
		r.add(m.name+"_stock", each[b.lanyard]/each[b.stock], "%.0f kB : %.0f kB a connection", each[b.lanyard]/1000, each[b.stock]/1000)
	}
	return nil
}
