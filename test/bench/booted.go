//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
)

var bootedLine = regexp.MustCompile(`ssh_true_logind [0-9.]+ +([0-9.]+) ms : ([0-9.]+) ms`)

// booted is `ssh host true` to a machine on which systemd runs: the session of the login manager and the limits of PAM's
// configuration are part of it, with both servers. The tests of the packages have such machines.
func (b *bench) booted(ctx context.Context, r *results, pairs int) error {
	const name = "ssh_true_logind"
	if !r.wants(name) {
		return nil
	}
	c := exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "-run", "^TestSessionsOfABootedMachineBeginFasterThanOpenSSHs$", "./test/packages")
	c.Env = append(os.Environ(), "BENCH_PAIRS="+strconv.Itoa(pairs))
	out, err := c.CombinedOutput()
	m := bootedLine.FindSubmatch(out)
	if err != nil || m == nil {
		return fmt.Errorf("measure sessions of a booted machine: %w\n%s", err, out)
	}
	var x, y float64
	for i, to := range []*float64{&x, &y} {
		if *to, err = strconv.ParseFloat(string(m[i+1]), 64); err != nil {
			return err
		}
	}
	r.add(name, x/y, "%.1f ms : %.1f ms", x, y)
	return nil
}
