//go:build !linux

package setup

import "lanyard/sshd/session/start"

// System is this machine.
type System struct{}

// Open looks for nothing: what there is to do here is Linux's.
func Open() *System { return &System{} }

// Close does nothing.
func (s *System) Close() error { return nil }

// Plan is what a program gets.
type Plan struct {
	Env     []string
	Umask   int
	Files   uint64
	Hold    bool
	Limits  []start.Limit
	Keyring bool
	Motd    []string
	Last    string
}

// Plan says what a program gets.
func (s *System) Plan(Ask) *Plan { return plain() }

// Settle does nothing.
func (p *Plan) Settle(Process) (env []string) { return nil }

// End does nothing.
func (p *Plan) End() {}
