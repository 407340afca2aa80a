package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/kardianos/service"

	"lanyard/installer/units"
	"lanyard/platform/paths"
	"lanyard/service/daemon"
)

// runService runs under the service control manager, or in a console until ctx ends.
func runService(ctx context.Context, opt daemon.Options, serve func(context.Context, daemon.Options) error) error {
	run := func(ctx context.Context) error { return serve(ctx, opt) }
	if service.Interactive() {
		return run(ctx)
	}
	p := &program{run: run, log: opt.Log, done: make(chan error, 1)}
	s, err := service.New(p, &service.Config{Name: units.Name})
	if err != nil {
		return fmt.Errorf("meet the service control manager: %w", err)
	}
	return s.Run()
}

type program struct {
	run    func(context.Context) error
	log    *slog.Logger
	cancel context.CancelFunc
	done   chan error
}

func (p *program) Start(service.Service) error {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go func() {
		err := p.run(ctx)
		if err != nil {
			p.log.Error("the service ends", "err", err)
			os.Exit(1) // without a word to the manager, which restarts it as its recovery settings say
		}
		p.done <- nil
	}()
	return nil
}

func (p *program) Stop(service.Service) error {
	p.cancel()
	return <-p.done
}

// howToStart is what to type when no service runs.
func howToStart(profile string) string {
	if profile != paths.DefaultProfile {
		return "lanyard service run --profile " + profile
	}
	return "lanyard service install (as administrator), or lanyard service run (a service of your own, in the foreground)"
}
