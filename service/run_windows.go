package main

import (
	"context"
	"fmt"

	"github.com/kardianos/service"

	"lanyard/installer/units"
	"lanyard/platform/paths"
)

// runService runs under the service control manager, or in a console until ctx ends.
func runService(ctx context.Context, run func(context.Context) error) error {
	if service.Interactive() {
		return run(ctx)
	}
	p := &program{run: run, done: make(chan error, 1)}
	s, err := service.New(p, &service.Config{Name: units.Name})
	if err != nil {
		return fmt.Errorf("meet the service control manager: %w", err)
	}
	return s.Run()
}

type program struct {
	run    func(context.Context) error
	cancel context.CancelFunc
	done   chan error
}

func (p *program) Start(s service.Service) error {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go func() {
		err := p.run(ctx)
		p.done <- err
		if err != nil {
			s.Stop() // the manager restarts it as its recovery settings say
		}
	}()
	return nil
}

func (p *program) Stop(service.Service) error {
	p.cancel()
	err := <-p.done
	p.done <- err
	return err
}

func notifySupervisor(string) error { return nil }

// howToStart is what to type when no service runs.
func howToStart(profile string) string {
	if profile != paths.DefaultProfile {
		return "lanyard service run --profile " + profile
	}
	return "lanyard service install (as administrator), or lanyard service run (a service of your own, in the foreground)"
}
