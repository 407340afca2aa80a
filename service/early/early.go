// Package early answers the helper of ssh's Match exec, and starts the programs of sessions, before the rest of the
// program is initialised.
//
// `lanyard openssh prepare` runs with every ssh command, and nearly always finds a fresh sign-in, or machine certificate, and is done. To get
// to main, though, the program first initialises all the packages it is made of, which costs several times the CPU of
// the work itself. Go initialises packages in the order of their import paths, each as soon as those that it imports
// are ready (language specification, "Program initialization"): this package imports so little that its turn comes
// before nearly all others. It is the one place where init does any work; when it does not exit, nothing is lost but
// the look at one file. Keep its imports as they are: errors, os, strconv, syscall and time.
package early

import (
	"os"
	"strconv"
	"time"

	"lanyard/service/login/fresh"
	"lanyard/sshd/session/start"
)

func init() {
	if len(os.Args) >= 5 && os.Args[1] == "openssh" && os.Args[2] == "prepare" && good(os.Args[3:]) {
		os.Exit(0)
	}
	if len(os.Args) >= 3 && os.Args[1] == "openssh" {
		start.Become() // before the rest of a program of ours is initialised with root's rights
	}
	if len(os.Args) >= 4 && os.Args[1] == "openssh" && os.Args[2] == start.Verb {
		os.Exit(start.Main(os.Args[3:]))
	}
	// Without executing lanyard, after which the account could trace this process.
	if len(os.Args) >= 4 && os.Args[1] == "openssh" && os.Args[2] == start.SignalVerb {
		os.Exit(start.SignalMain(os.Args[3:]))
	}
}

// good looks at $HOME only: whoever has another home than that goes the longer way, which knows the user database.
// args are PROFILE PEER [SECONDS [ACCOUNTS]] [ADDRESS]; ADDRESS is for those who have to wait.
func good(args []string) bool {
	if n := len(args); n > 2 && address(args[n-1]) {
		args = args[:n-1]
	}
	var maxAge time.Duration
	if len(args) > 2 {
		sec, err := strconv.Atoi(args[2])
		if err != nil || sec < 0 {
			return false
		}
		maxAge = time.Duration(sec) * time.Second
	}
	home := os.Getenv("HOME")
	if home == "" || !plain(args[0]) || !plain(args[1]) {
		return false
	}
	now := time.Now()
	line, err := fresh.Read(home + "/.ssh/lanyard-" + args[0] + "-" + args[1] + ".fresh")
	if err == nil && now.Before(line.Ends) {
		return line.Good(now, maxAge) // somebody is signed in: their certificate counts
	}
	if len(args) != 4 {
		return false
	}
	line, err = fresh.Read(home + "/.ssh/lanyard-machine." + args[0] + "-" + args[1] + ".fresh")
	return err == nil && line.Good(now, 0) && line.For(args[3])
}

// address tells an IPv4 address from seconds and from accounts, whose names begin with no digit.
func address(s string) bool {
	dots := 0
	for i := range len(s) {
		if s[i] == '.' {
			dots++
		}
	}
	return dots == 3 && s[0] >= '0' && s[0] <= '9'
}

// plain keeps a name from leading elsewhere.
func plain(name string) bool {
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return name != ""
}
