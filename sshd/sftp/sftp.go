// Package sftp transfers files. The server for it is this program once more, started as the target user, so that
// the kernel checks every access and the daemon opens no file for anybody.
package sftp

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/pkg/sftp"
)

// Verb is the helper's name in argv.
const Verb = "session-sftp"

const readOnlyFlag = "--read-only"

// Command is how the server is started.
func Command(helper []string, readOnly bool) (path string, argv []string) {
	argv = append(argv, helper...)
	argv = append(argv, Verb)
	if readOnly {
		argv = append(argv, readOnlyFlag)
	}
	return helper[0], argv
}

// Main is the server: it speaks SFTP on standard input and output, in the account's home.
func Main(args []string) (exit int) {
	var opts []sftp.ServerOption
	for _, a := range args {
		if a == readOnlyFlag {
			opts = append(opts, sftp.ReadOnly())
		}
	}
	if err := assertDropped(); err != nil {
		fmt.Fprintln(os.Stderr, "Lanyard:", err)
		return 1
	}
	if home := os.Getenv("HOME"); home != "" {
		_ = os.Chdir(home) // or where it is: clients may name any folder
	}
	srv, err := sftp.NewServer(stdio{}, append(opts, sftp.WithAllocator())...)
	if err != nil {
		fmt.Fprintln(os.Stderr, "Lanyard: cannot serve files:", err)
		return 1
	}
	if err := srv.Serve(); err != nil && !errors.Is(err, io.EOF) {
		return 1
	}
	return 0
}

// stdio is standard input and output as one stream.
type stdio struct{}

func (stdio) Read(p []byte) (int, error)  { return os.Stdin.Read(p) }
func (stdio) Write(p []byte) (int, error) { return os.Stdout.Write(p) }
func (stdio) Close() error                { return errors.Join(os.Stdin.Close(), os.Stdout.Close()) }
