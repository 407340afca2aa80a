package supervisor

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/kardianos/service"
)

// Interactive reports whether this process was started in a console rather than by the service control manager.
func Interactive() bool { return service.Interactive() }

// Run does a program's work under the service control manager, or in a console until ctx ends.
func Run(ctx context.Context, name string, log *slog.Logger, work func(context.Context) error) error {
	if Interactive() {
		return work(ctx)
	}
	p := &program{work: work, log: log, done: make(chan error, 1)}
	s, err := service.New(p, &service.Config{Name: name})
	if err != nil {
		return fmt.Errorf("meet the service control manager: %w", err)
	}
	return s.Run()
}

type program struct {
	work   func(context.Context) error
	log    *slog.Logger
	cancel context.CancelFunc
	done   chan error
}

func (p *program) Start(service.Service) error {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go func() {
		err := p.work(ctx)
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
