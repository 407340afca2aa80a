//go:build unix

// Command lanyard-helper is what OpenSSH calls before every connection, and what the programs of sessions begin as, where
// it lies beside lanyard. Both are nearly always done in package early. Lanyard itself would do the same, but it takes longer
// to start, for its size: Go's runtime looks through a program's tables first. What early leaves is lanyard's.
package main

import (
	"os"
	"syscall"

	_ "lanyard/service/early" // does the work, before main
)

// stamped is the release, set by the linker. The service uses no helper of another one.
var stamped string

func main() {
	if len(os.Args) == 2 && os.Args[1] == "version" {
		os.Stdout.WriteString(stamped + "\n")
		return
	}
	self, err := os.Executable()
	if err != nil {
		fail(err)
	}
	dir := self
	for dir != "" && dir[len(dir)-1] != '/' {
		dir = dir[:len(dir)-1]
	}
	for _, program := range []string{dir + "lanyard", dir + "../../bin/lanyard"} {
		err = syscall.Exec(program, append([]string{program}, os.Args[1:]...), os.Environ())
	}
	fail(err)
}

func fail(err error) {
	os.Stderr.WriteString("Lanyard: the program lanyard is not where its helper looks for it: " + err.Error() + "\n")
	os.Exit(127)
}
