package session

import (
	"lanyard/platform/spawn"
	"lanyard/sshd/session/start"
)

// StartVerb is not used on Windows.
const StartVerb = start.Verb

// StartMain does nothing on Windows.
func StartMain(args []string) (exit int) { return start.Main(args) }

func (s *Session) launch(c spawn.Command, _ string) spawn.Command { return c }
