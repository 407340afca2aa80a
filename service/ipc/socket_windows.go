package ipc

import (
	"context"
	"errors"
	"net"
	"os"

	"github.com/Microsoft/go-winio"
)

func dialLocal(ctx context.Context, path string) (net.Conn, error) {
	conn, err := winio.DialPipeContext(ctx, path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNotRunning
	}
	return conn, err
}
