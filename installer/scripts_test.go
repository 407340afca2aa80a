package main

import (
	"os"
	"path/filepath"
	"regexp"
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
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+does+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}
