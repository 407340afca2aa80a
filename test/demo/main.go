//go:build linux

// Demo shows Lanyard at work on pretended machines: a sign-in with a scripted browser, then the machine's own
// OpenSSH over the tunnel, then what happens when the person is blocked.
//
//	demo            run it, clean up, exit 0
//	demo up         leave it running and say what to type
//	demo down       end what "up" left running
//
// As root the machines are network and mount namespaces; without root, or with --userspace, they are folders and
// the tunnel runs in the programs themselves.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"lanyard/test/lab"
)

func main() {
	lab.Main()
	userspace := flag.Bool("userspace", false, "no namespaces and no kernel interface, even as root")
	bin := flag.String("bin", ".build/bin", "folder of the built programs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	o := options{bin: *bin, userspace: *userspace}
	var err error
	switch flag.Arg(0) {
	case "":
		err = run(ctx, o)
	case "up":
		err = up(ctx, o)
	case "stay":
		err = stay(ctx, o)
	case "down":
		err = down()
	case "hello": // a small server on a machine, for ssh -L
		err = hello(ctx, flag.Arg(1))
	default:
		err = fmt.Errorf("unknown word %q: say nothing, up or down", flag.Arg(0))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "\nThe demo failed:", err)
		os.Exit(1)
	}
}

type options struct {
	bin       string
	userspace bool
}

// limit of the whole demo, from the built programs to the last line, without that for which the machine held programs up;
// with it, it is given up after patience.
const (
	limit    = 60 * time.Second
	patience = 3 * limit
)

// watched are the host's folders that must look the same before and after.
var watched = []string{"/etc", "/run", "/var", "/root", "/home"}

func run(ctx context.Context, o options) error {
	start := time.Now()
	checkout, err := os.Getwd()
	if err != nil {
		return err
	}
	before := lab.ListFiles(checkout, watched...)
	watch := lab.StartWatch()
	defer watch.Stop()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := story(ctx, o); err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return fmt.Errorf("it took longer than %s: %w", patience, err)
		}
		return err
	}
	if took := watch.Took(); took > limit {
		return fmt.Errorf("it took %s, want %s", took, limit)
	}
	if left := lab.ListFiles(checkout, watched...).Diff(before); len(left) > 0 {
		return fmt.Errorf("file lists of %s differ afterwards:\n%s", strings.Join(watched, " "), strings.Join(left, "\n"))
	}
	fmt.Printf("\nEverything is stopped; %s hold the same files as before. %.1f s.\n", strings.Join(watched, " "), time.Since(start).Seconds())
	return nil
}

func story(ctx context.Context, o options) (err error) {
	d, err := open(ctx, o)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			fmt.Fprint(os.Stderr, "\n", d.lab.Logs(40))
		}
		err = errors.Join(err, d.lab.Close())
	}()
	for _, chapter := range []func(context.Context) error{d.network, d.signIn, d.session, d.copies, d.forward, d.block, d.audit} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return nil
}

func hello(ctx context.Context, addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	fmt.Println("listening on", l.Addr())
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		host, _ := os.Hostname()
		fmt.Fprintf(c, "hello from a server on %s\n", host)
		c.Close()
	}
}

// folder of what "up" left running.
func folder() (string, error) {
	wd, err := os.Getwd()
	return filepath.Join(wd, ".build", "demo"), err
}
