// Package sftp transfers files: version 3 of the SSH File Transfer Protocol (draft-ietf-secsh-filexfer-02) with
// the extensions that OpenSSH's clients use.
//
// The server is this program once more, started as the target user, so that the kernel checks every access and the
// daemon opens no file for anybody. One goroutine answers requests in their order; it reads and writes in pieces of
// a quarter megabyte, which OpenSSH's clients ask for once they were told limits@openssh.com.
//
//	client ── channel ── daemon ──pipe──► server (server.go) ─► tree: the whole file system (whole.go), or
//	                       ▲                   │                the folders that the rule names (limited.go)
//	                       └───── events ──────┘                what was opened, removed, renamed (event.go)
package sftp

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
)

// Verb is the helper's name in argv.
const Verb = "session-files"

// Grant is a folder with all below it that may be read, and written where Write is set. Path is absolute, or begins
// with "~" for the account's home; "/" is every file on every system.
type Grant struct {
	Path  string
	Write bool
}

// Everything is the path of a grant without limits.
const Everything = "/"

// Covers reports whether all that g grants is in these, too.
func Covers(grants []Grant, g Grant) bool {
	return slices.ContainsFunc(grants, func(x Grant) bool {
		_, in := below(path.Clean(x.Path), path.Clean(g.Path))
		return (in || x.Path == Everything) && (x.Write || !g.Write)
	})
}

const (
	readFlag  = "--read="
	writeFlag = "--write="
)

// Command is how the server is started for an account with this home.
func Command(helper []string, home string, grants []Grant) (path string, argv []string) {
	argv = append(argv, helper...)
	argv = append(argv, Verb)
	for _, g := range grants {
		p, ok := expand(g.Path, home)
		if !ok {
			continue
		}
		if g.Write {
			argv = append(argv, writeFlag+p)
		} else {
			argv = append(argv, readFlag+p)
		}
	}
	return helper[0], argv
}

// expand makes an absolute path, with slashes, of a grant's. An account without a home of its own has none to grant.
func expand(p, home string) (string, bool) {
	if rest, ok := strings.CutPrefix(p, "~"); ok {
		home = remote(home)
		if !path.IsAbs(home) || path.Clean(home) == "/" || rest != "" && rest[0] != '/' {
			return "", false
		}
		return path.Join(home, rest), true
	}
	p = remote(p)
	return path.Clean(p), path.IsAbs(p)
}

// Main is the server: it speaks SFTP on standard input and output, and tells on standard error what it did.
func Main(args []string) (exit int) {
	var grants []Grant
	for _, a := range args {
		if p, ok := strings.CutPrefix(a, writeFlag); ok {
			grants = append(grants, Grant{p, true})
		} else if p, ok := strings.CutPrefix(a, readFlag); ok {
			grants = append(grants, Grant{p, false})
		}
	}
	if err := assertDropped(); err != nil {
		fmt.Fprintln(os.Stderr, "Lanyard:", err)
		return 1
	}
	if home := os.Getenv("HOME"); home != "" {
		_ = os.Chdir(home) // or where it is: clients may name any folder
	}
	s := newServer(os.Stdout, os.Stderr, os.Getenv("HOME"), grants)
	defer s.close()
	if err := s.serve(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "Lanyard: file transfer ended:", err)
		return 1
	}
	return 0
}
