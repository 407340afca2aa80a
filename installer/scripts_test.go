package main

import (
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
)

// ownPlaces are where the packages' scripts look and write.
var ownPlaces = regexp.MustCompile(`([\s"<>])(/(etc|usr|var|run|proc|lib|Library)/)`)

// rooted is a script for a tree of files in place of the machine's.
func rooted(text, root string) string { return ownPlaces.ReplaceAllString(text, "${1}"+root+"${2}") }

// standIn writes a shell script that does this.
func standIn(t *testing.T, file, does string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	writeProgram(t, file, "#!/bin/sh\n"+does+"\n")
}

// writeProgram writes a file that is executed. Nothing is started meanwhile by another test: what is started has each open
// file until it executes its own program, and a file that somebody may write cannot be executed.
func writeProgram(t *testing.T, file, text string) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}
