//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"lanyard/test/lab"
)

// Where forwards lead to, on the server: one end sends bulkSize bytes, the other takes what comes.
const (
	sourceAddr = "127.0.0.1:9001"
	sinkAddr   = "127.0.0.1:9002"
)

// serveEnds is both ends of the forwards. It runs on the server until it is killed, or cannot listen.
func serveEnds() error {
	source, err := net.Listen("tcp", sourceAddr)
	if err != nil {
		return err
	}
	sink, err := net.Listen("tcp", sinkAddr)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := sink.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 256<<10))
			}()
		}
	}()
	for {
		c, err := source.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			for left, zeros := bulkSize, make([]byte, 256<<10); left > 0; left -= len(zeros) {
				if _, err := c.Write(zeros); err != nil {
					return
				}
			}
		}()
	}
}

func (b *bench) startEnds(ctx context.Context) error {
	if _, err := b.web.Start("ends", "deploy", b.lab.Program("self"), "ends"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return lab.Until(ctx, "the ends of the forwards", func() error {
		return b.web.Run(ctx, "", "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9002")
	})
}

// programs are those that people run over ssh, many small things rather than one big.
func (b *bench) programs(ctx context.Context, r *results, pairs int) error {
	pairs = max(1, pairs/3) // each takes its time
	for _, m := range []struct {
		name, prepare, run string
	}{
		{
			"rsync_10k_files", `mkdir -p /tmp/tree; cd /tmp/tree; for d in $(seq 100); do mkdir $d; for f in $(seq 100); do echo "$d $f" >$d/$f; done; done`,
			`rm -rf /tmp/tree && rsync -a -e "ssh -F $0" $1:/tmp/tree/ /tmp/tree/`,
		},
		{
			"git_clone", `mkdir /tmp/repo; cd /tmp/repo; git init -q; for i in $(seq 400); do head -c 50000 /dev/urandom >$i; done; git add .; git -c user.name=a -c user.email=a@example.com commit -qm all`,
			`rm -rf /tmp/clone && GIT_SSH_COMMAND="ssh -F $0" git clone -q $1:/tmp/repo /tmp/clone`,
		},
	} {
		if !r.wants(m.name) {
			continue
		}
		if err := b.web.Run(ctx, "deploy", "bash", "-ec", m.prepare); err != nil {
			return err
		}
		x, y, err := b.abba(ctx, pairs, b.lanyard, b.nopam, func(s *server) (time.Duration, error) {
			return b.wall(order{Argv: []string{"bash", "-ec", m.run, b.config, s.name}})
		})
		if err != nil {
			return err
		}
		r.add(m.name, float64(y)/float64(x), "%.0f ms : %.0f ms", ms(x), ms(y))
	}
	return nil
}

// distance is file transfer over a wire with a round trip of 50 ms.
func (b *bench) distance(ctx context.Context, r *results, pairs int) (err error) {
	const name = "sftp_get_50ms"
	if !r.wants(name) {
		return nil
	}
	if err := b.files(ctx); err != nil {
		return err
	}
	w, err := b.slow(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := w.close(); err == nil {
			err = cerr
		}
	}()
	if took, err := b.wall(order{Argv: b.ssh(b.current, "true")}); err != nil {
		return err
	} else if took < 4*roundTrip {
		return fmt.Errorf("the slow wire is not used: ssh took %s", took)
	}
	x, y, err := b.abba(ctx, max(1, pairs/3), b.lanyard, b.nopam, func(s *server) (time.Duration, error) {
		return b.wall(b.get(s))
	})
	if err != nil {
		return err
	}
	r.add(name, float64(y)/float64(x), "%.1f MiB/s : %.1f MiB/s", mibs(x), mibs(y))
	return nil
}
