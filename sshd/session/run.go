package session

import (
	"context"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api/reason"
	"lanyard/platform/spawn"
	"lanyard/sshd/flow"
	"lanyard/sshd/session/setup"
	"lanyard/sshd/sftp"
)

// start starts the program and the goroutines that serve it, from Serve's goroutine.
func (s *Session) start(what, command, path string, argv []string) error {
	ask := setup.Ask{Account: s.login.Account, From: s.login.From, Log: s.login.Log}
	if s.pty != nil && what != "sftp" {
		ask.TTY, ask.Login = s.pty.Name(), what == "shell"
	}
	s.plan = s.login.System.Plan(ask)
	c := spawn.Command{
		Path: path, Argv: argv, Env: s.environment(s.plan.Env), Account: s.login.Account, PTY: s.pty,
	}
	c = s.launch(c, what)
	if s.pty != nil && what != "sftp" {
		return s.startPTY(c, what, command)
	}
	c.PTY = nil
	return s.startPipes(c, what, command)
}

func (s *Session) startPTY(c spawn.Command, what, command string) error {
	p := s.pty
	err := s.givePTY()
	var proc *spawn.Process
	if err == nil {
		proc, err = s.run(c, what, command)
	}
	if err != nil {
		s.mu.Lock()
		s.pty = nil
		s.mu.Unlock()
		p.Close()
		return err
	}
	p.CloseSlave()
	s.login.Go(func() { _ = flow.FromChannel(p, s.ch, &s.meter) })
	if line := notice(what, c.Account); line != "" {
		_, _ = io.WriteString(s.ch, line)
	}
	screen := &busyWriter{w: s.ch}
	out := s.copyOut(func() error { return flow.ToChannel(screen, p, &s.meter) })
	s.login.Go(func() {
		s.finish(proc, out, func() bool { return !p.Readable() && !screen.busy.Load() })
		p.Close()
	})
	return nil
}

// busyWriter knows whether a write is under way: the client may be slow to take it.
type busyWriter struct {
	w    io.Writer
	busy atomic.Bool
}

func (b *busyWriter) Write(p []byte) (int, error) {
	b.busy.Store(true)
	defer b.busy.Store(false)
	return b.w.Write(p)
}

// run starts the program once its start is recorded: what cannot be recorded does not run.
func (s *Session) run(c spawn.Command, what, command string) (*spawn.Process, error) {
	end, err := s.login.Begin(what, command)
	if err != nil {
		return nil, err
	}
	// What has to be done to the process is told through this pipe: until it ends, the program does not run.
	var held, tell *os.File
	if s.plan.Hold && what != "sftp" {
		if held, tell, err = os.Pipe(); err != nil {
			end(Result{Reason: reason.Internal})
			return nil, err
		}
		c.Hold = held
		defer held.Close()
	}
	settled := make(chan struct{})
	if s.plan.Hold {
		c.Settled = settled
	}
	proc, err := s.login.Scope.Start(c)
	if err != nil {
		if tell != nil {
			tell.Close()
		}
		end(Result{Reason: reason.Internal})
		return nil, err
	}
	s.mu.Lock()
	s.proc, s.end = proc, end
	s.mu.Unlock()
	if s.plan.Hold {
		s.login.Go(func() {
			defer close(settled)
			s.settle(proc.Pid, tell)
		})
	}
	return proc, nil
}

// settle does to the process what takes root, and lets it go on.
func (s *Session) settle(pid int, tell *os.File) {
	env := s.plan.Settle(setup.Process{Pid: pid, Scope: s.login.Scope})
	if tell == nil {
		return // file transfer, which is a program of ours, does not wait
	}
	for _, v := range env {
		_, _ = tell.WriteString(v + "\n")
	}
	tell.Close()
}

// After the program of a terminal has ended, usually the terminal's end says that its output is over. A background
// process that keeps the terminal open does not delay the end of the session, as with OpenSSH, once ptyLinger has passed
// without output that waits for the client.
const (
	ptyLinger = 100 * time.Millisecond
	ptyLook   = 10 * time.Millisecond
)

func (s *Session) startPipes(c spawn.Command, what, command string) error {
	var files [6]*os.File // each pair: read end, write end
	closeAll := func() {
		for _, f := range files {
			if f != nil {
				f.Close()
			}
		}
	}
	for i := 0; i < len(files); i += 2 {
		var err error
		if i == 4 {
			files[i], files[i+1], err = os.Pipe() // stderr: never bulk
		} else {
			files[i], files[i+1], err = flow.Pipe()
		}
		if err != nil {
			closeAll()
			return err
		}
	}
	stdin, stdout, stderr := files[1], files[2], files[4]
	c.Files = [3]*os.File{files[0], files[3], files[5]}
	proc, err := s.run(c, what, command)
	if err != nil {
		closeAll()
		return err
	}
	for _, f := range c.Files {
		f.Close()
	}
	s.login.Go(func() {
		_ = flow.FromChannel(stdin, s.ch, &s.meter)
		stdin.Close()
	})
	out := s.copyOut(
		func() error { defer stdout.Close(); return flow.ToChannel(s.ch, stdout, &s.meter) },
		func() error {
			defer stderr.Close()
			if what == "sftp" {
				defer s.login.FilesEnd()
				return sftp.ReadEvents(stderr, s.login.FileEvent, stderrWriter{s})
			}
			return flow.ToChannel(stderrWriter{s}, stderr, &s.meter)
		})
	s.login.Go(func() {
		s.finish(proc, out, nil)
		// Copying from a pipe that a background process still holds ends here.
		stdin.Close()
		stdout.Close()
		stderr.Close()
	})
	return nil
}

// copyOut runs the copies and returns a channel that closes when all have ended.
func (s *Session) copyOut(copies ...func() error) <-chan struct{} {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(len(copies))
	for i, f := range copies {
		s.login.Go(func() {
			_ = f()
			wg.Done()
			if i == 0 {
				wg.Wait()
				close(done)
			}
		})
	}
	return done
}

// finish waits for the program and its output, tells the client how it ended and closes the channel: exit status,
// EOF, close, in this order. Clients take a channel that closes without a status for a failure (scp: exit 1). quiet says
// of a terminal that no output is on its way; nil: the output's end counts.
func (s *Session) finish(proc *spawn.Process, out <-chan struct{}, quiet func() bool) {
	stop := context.AfterFunc(s.login.Life, proc.Release)
	defer stop()
	defer s.login.Scope.Close()
	defer s.plan.End()
	e, ok := proc.Wait()
	if !ok {
		s.over(s.result(nil))
		return
	}
	s.drain(out, quiet)
	s.over(s.result(&e))
	if s.isEnding() {
		return // who ends the session closes the channel or the connection once the reason is on its way
	}
	if s.lock(s.login.Tell) {
		defer s.unlock()
	}
	s.sendExit(e)
	_ = s.ch.CloseWrite()
	_ = s.ch.Close()
}

// drain waits for the output of a program that has ended.
func (s *Session) drain(out <-chan struct{}, quiet func() bool) {
	var look <-chan time.Time
	if quiet != nil {
		t := time.NewTicker(ptyLook)
		defer t.Stop()
		look = t.C
	}
	silent := 0 // looks in a row: a machine that stands still in between makes no silence
	for {
		select {
		case <-out:
			return
		case <-s.closed:
			return
		case <-s.ending: // a client that reads nothing delays nothing
			return
		case <-look:
			if silent++; !quiet() {
				silent = 0
			}
			if time.Duration(silent)*ptyLook >= ptyLinger {
				return
			}
		}
	}
}

// over records the program's end once: when it ended or when its connection did, whichever was first. The process
// may outlive the connection by days.
func (s *Session) over(r Result) {
	s.mu.Lock()
	end := s.end
	s.end = nil
	s.mu.Unlock()
	if end != nil {
		end(r)
	}
}

func (s *Session) result(e *spawn.Exit) Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Result{Exit: e, In: s.meter.In.Load(), Out: s.meter.Out.Load(), Reason: s.lost}
}

// sendExit is RFC 4254 §6.10.
func (s *Session) sendExit(e spawn.Exit) {
	if e.Signal != "" {
		_, _ = s.ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Signal string
			Core   bool
			Text   string
			Lang   string
		}{e.Signal, e.Core, "", ""}))
		return
	}
	_, _ = s.ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(e.Status)}))
}
