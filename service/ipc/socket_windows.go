package ipc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/windows"

	namedpipe "lanyard/platform/pipe"
)

func dialLocal(ctx context.Context, path string) (net.Conn, error) {
	conn, err := namedpipe.Dial(ctx, path)
	if errors.Is(err, os.ErrNotExist) {
		err = ErrNotRunning
	}
	return conn, err
}

// Listen opens the pipe. A machine's (system) is for every account of the machine but network logons; a user's own is
// for that user.
func Listen(path string, system bool) (net.Listener, error) {
	who := namedpipe.Own
	if system {
		who = namedpipe.Everyone
	}
	l, err := namedpipe.Listen(path, who)
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		return nil, fmt.Errorf("another Lanyard service already listens on %s; 'lanyard status' shows it", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open the pipe: %w", err)
	}
	return l, nil
}
