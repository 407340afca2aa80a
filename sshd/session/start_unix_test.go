//go:build unix

package session

import (
	"slices"
	"testing"

	"lanyard/platform/spawn"
	"lanyard/sshd/session/setup"
	"lanyard/sshd/session/start"
)

func TestFileTransferIsToldOfUmaskAndLimits(t *testing.T) {
	limits := []start.Limit{{Resource: 1, Soft: 5, Hard: 6}}
	s := &Session{login: &Login{Starter: []string{"/helper", "openssh"}}, plan: &setup.Plan{Umask: 0o77, Limits: limits, Files: 1024, Hold: true}}
	c := s.launch(spawn.Command{Path: "/helper", Argv: []string{"helper", "session-files"}, Env: []string{"A=1"}}, "sftp")
	want := start.Variable + "=" + start.Options{Umask: 0o77, Limits: limits}.String()
	if !slices.Equal(c.Env, []string{"A=1", want}) || c.Path != "/helper" || len(c.Argv) != 2 {
		t.Errorf("%+v", c)
	}
}
