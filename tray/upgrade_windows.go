package main

import (
	"os"
	"os/exec"
)

// become starts the new program; this one ends.
func become(program string) error { return exec.Command(program, os.Args[1:]...).Start() }
