//go:build unix

package main

import (
	"os"
	"syscall"
)

// become runs the new program in this process's place, so that whoever supervises it sees no end.
func become(program string) error { return syscall.Exec(program, os.Args, os.Environ()) }
