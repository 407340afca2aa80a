//go:build unix

// Package keeper is the small process between systemd and the service.
//
// systemd holds a service for stopped when its main process has ended, but a service that was replaced must go on to
// serve its open sessions (package handover). So the main process is a keeper, which starts the service as its child,
// passes on what the two say, and can end while the service stays.
//
//	systemd ── SIGTERM: stop ── keeper ── SIGTERM ──► service
//	        ── SIGUSR2: restart ──        ── "leave" ──►          then the keeper ends, and the service lingers
//	        ◄── READY, WATCHDOG ──        ◄── "ready", "alive" ──
//
// A service whose keeper was killed leaves too: the next one takes its place.
package keeper

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"lanyard/platform/supervisor"
)

// env tells the service that it has a keeper, and how long its watchdog waits, in microseconds.
const env = "LANYARD_KEEPER"

// The service's ends of the two pipes.
const (
	reportsFD = 3
	ordersFD  = 4
)

const (
	leaveTime = 3 * time.Second // for the service to say that it can be replaced
	restTime  = time.Second     // for what it said at its end to be read
)

// Run starts this program again with the same arguments, and keeps it. It returns the service's exit status.
func Run(ctx context.Context, sup *supervisor.Supervisor, program string, log *slog.Logger) (exit int, err error) {
	reports, reportsEnd, err := os.Pipe()
	if err != nil {
		return 1, err
	}
	ordersEnd, orders, err := os.Pipe()
	if err != nil {
		return 1, err
	}
	c := exec.Command(program, os.Args[1:]...)
	c.Args[0] = os.Args[0]
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.ExtraFiles = []*os.File{reportsEnd, ordersEnd}
	c.Env = append(os.Environ(), env+"="+strconv.FormatInt(sup.Watchdog().Microseconds(), 10))
	// Before the start: a signal that comes now must not end the keeper alone.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGUSR2, syscall.SIGABRT)
	defer signal.Stop(signals)
	if err := c.Start(); err != nil {
		return 1, fmt.Errorf("start the service: %w", err)
	}
	reportsEnd.Close()
	ordersEnd.Close()
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	said := make(chan string)
	go func() {
		defer close(said)
		for in := bufio.NewScanner(reports); in.Scan(); {
			said <- in.Text()
		}
	}()
	stop := ctx.Done()
	var late <-chan time.Time
	tell := func(state string) {
		if err := sup.Notify(state); err != nil {
			log.Warn("systemd could not be told how the service is", "err", err)
		}
	}
	hear := func(line string) (leaving bool) {
		switch line {
		case "ready":
			tell("READY=1")
		case "alive":
			tell("WATCHDOG=1")
		}
		return line == "leaving"
	}
	for {
		select {
		case line, ok := <-said:
			if !ok {
				said = nil
			}
			if hear(line) {
				return 0, nil // the service stays
			}
		case s := <-signals:
			if s == syscall.SIGABRT { // the watchdog: the service hangs
				_ = c.Process.Kill()
				continue
			}
			late = time.After(leaveTime)
			if _, err := orders.WriteString("leave\n"); err != nil {
				_ = c.Process.Signal(syscall.SIGTERM)
			}
		case <-late:
			_ = c.Process.Signal(syscall.SIGTERM)
		case <-stop:
			stop = nil
			tell("STOPPING=1")
			_ = c.Process.Signal(syscall.SIGTERM)
		case err := <-ended:
			// What it said before it ended may have come a moment ago.
			for rest := time.After(restTime); said != nil; {
				select {
				case line, ok := <-said:
					if !ok {
						said = nil
					}
					_ = hear(line) // how it ended counts more
				case <-rest: // a program that it started holds the pipe open
					said = nil
				}
			}
			exit := (*exec.ExitError)(nil)
			if errors.As(err, &exit) {
				return max(exit.ExitCode(), 1), nil
			}
			return 0, err
		}
	}
}

// Link is the service's side.
type Link struct {
	// Watchdog is the longest that Alive may stay away; 0: it is not asked for.
	Watchdog time.Duration
	// Leave is closed when another process is about to take this one's place.
	Leave chan struct{}

	reports *os.File
}

// Find returns the link to this process's keeper; nil when it has none.
func Find() *Link {
	usec, err := strconv.ParseInt(os.Getenv(env), 10, 64)
	os.Unsetenv(env)
	if err != nil {
		return nil
	}
	syscall.CloseOnExec(reportsFD)
	syscall.CloseOnExec(ordersFD)
	l := &Link{
		Watchdog: time.Duration(usec) * time.Microsecond, Leave: make(chan struct{}),
		reports: os.NewFile(reportsFD, "reports"),
	}
	orders := os.NewFile(ordersFD, "orders")
	go func() {
		defer orders.Close()
		bufio.NewScanner(orders).Scan() // "leave", or the keeper's end
		close(l.Leave)
	}()
	return l
}

// Ready, Leaving and Alive tell the keeper.
func (l *Link) Ready()   { l.say("ready") }
func (l *Link) Leaving() { l.say("leaving") }
func (l *Link) Alive()   { l.say("alive") }

func (l *Link) say(word string) { _, _ = l.reports.WriteString(word + "\n") } // a keeper that is gone has no questions
