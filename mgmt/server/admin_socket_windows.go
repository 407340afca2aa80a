package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/windows"

	"lanyard/installer/units"
	"lanyard/platform/paths"
	"lanyard/platform/pipe"
)

// adminPipe is the name of a state folder's pipe: pipes are the machine's, so it carries a hash.
func adminPipe(state string) (string, error) {
	dir, err := filepath.Abs(state)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(strings.ToLower(dir)))
	return `\\.\pipe\lanyard-mgmt-` + hex.EncodeToString(sum[:8]), nil
}

// DialAdmin opens the admin pipe of the server that runs on a state folder.
func DialAdmin(ctx context.Context, state string) (net.Conn, error) {
	name, err := adminPipe(state)
	if err != nil {
		return nil, err
	}
	c, err := pipe.Dial(ctx, name, paths.ServiceSID(units.Mgmt))
	if errors.Is(err, os.ErrNotExist) {
		err = &net.OpError{Op: "dial", Net: "pipe", Err: err}
	}
	return c, err
}

// listenAdmin opens the pipe for the administrators and the user that runs this process.
func listenAdmin(state string) (net.Listener, error) {
	name, err := adminPipe(state)
	if err != nil {
		return nil, err
	}
	l, err := pipe.Listen(name, pipe.Administrators)
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		return nil, fmt.Errorf("another process listens on %s already", name)
	}
	if err != nil {
		return nil, fmt.Errorf("open the admin pipe: %w", err)
	}
	return l, nil
}
