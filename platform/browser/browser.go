// Package browser shows a web page to the person at this machine.
package browser

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"time"
)

// ErrNone is returned when no browser can be opened here; the caller prints the address instead.
var ErrNone = errors.New("there is no browser to open here")

// startGrace is how long a browser command may take to fail before it counts as opened.
const startGrace = 300 * time.Millisecond

// Open shows rawURL, which must be http or https, in a browser of its own session. The commands of $BROWSER are tried
// first (a list separated by colons; %s stands for the address), then the desktop's own way. Root has no desktop:
// for root only $BROWSER counts.
func Open(rawURL string) error { return open(rawURL, startGrace) }

func open(rawURL string, grace time.Duration) error {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("the address %q is not a web page", rawURL)
	}
	// The parsed form holds no blanks, quotes or control characters, and cannot begin with '-'.
	page := u.String()
	var failed error
	for _, argv := range commands(os.Getenv("BROWSER"), page) {
		if failed = start(argv, grace); failed == nil {
			return nil
		}
	}
	if argv, ok := desktop(page); ok {
		return start(argv, grace)
	}
	if failed != nil {
		return fmt.Errorf("%w: %w", ErrNone, failed)
	}
	return ErrNone
}

// Available reports whether Open has something to try.
func Available() bool {
	if len(commands(os.Getenv("BROWSER"), "http://localhost/")) > 0 {
		return true
	}
	_, ok := desktop("http://localhost/")
	return ok
}

// commands splits $BROWSER. No shell takes part: words are separated by blanks and taken as they are. On Windows a
// colon belongs to the path, and the list is separated by semicolons.
func commands(list, page string) [][]string {
	var out [][]string
	for _, entry := range strings.Split(list, string(os.PathListSeparator)) {
		argv := strings.Fields(entry)
		if len(argv) == 0 {
			continue
		}
		used := false
		for i, w := range argv {
			if strings.Contains(w, "%s") {
				argv[i], used = strings.ReplaceAll(w, "%s", page), true
			}
		}
		if !used {
			argv = append(argv, page)
		}
		out = append(out, argv)
	}
	return out
}

func start(argv []string, grace time.Duration) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = ownSession()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the browser: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("%s: %w", argv[0], err)
		}
		return nil
	case <-time.After(grace):
		return nil
	}
}
