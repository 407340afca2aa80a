package forward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"lanyard/platform/accounts"
	"lanyard/platform/spawn"
)

// Worker opens sockets. On Windows the daemon does so itself, in a thread with the account's rights.
type Worker struct {
	account accounts.Account
	scope   *spawn.Scope
}

// NewWorker makes the worker of a connection.
func NewWorker(a accounts.Account, _ []string, scope *spawn.Scope, _ func(func()), _ time.Duration) *Worker {
	return &Worker{a, scope}
}

// WorkerMain does nothing on Windows.
func WorkerMain() (exit int) { return 2 }

// Close ends the worker.
func (w *Worker) Close() { w.scope.Close() }

// Listen listens at addr; port 0 lets the system choose.
func (w *Worker) Listen(ctx context.Context, addr netip.AddrPort) (l net.Listener, err error) {
	network := "tcp6"
	if addr.Addr().Is4() {
		network = "tcp4"
	}
	if aerr := spawn.As(w.account, func() { l, err = new(net.ListenConfig).Listen(ctx, network, addr.String()) }); aerr != nil {
		if l != nil {
			l.Close()
		}
		return nil, aerr
	}
	return l, err
}

// What Windows has otherwise, or not at all.
var (
	errSocket = fmt.Errorf("Unix sockets are not forwarded on Windows: %w", errors.ErrUnsupported)
	errAgent  = fmt.Errorf("ssh -A does nothing on Windows, whose programs look for an agent at a pipe: %w", errors.ErrUnsupported)
	errX11    = fmt.Errorf("ssh -X does nothing on Windows, which has no xauth: %w", errors.ErrUnsupported)
)

// ListenUnix is not supported.
func (w *Worker) ListenUnix(context.Context, string) (net.Listener, error) { return nil, errSocket }

// Remove has nothing to remove.
func (w *Worker) Remove(string) {}

// Agent is not supported.
func (w *Worker) Agent(context.Context) (net.Listener, string, error) { return nil, "", errAgent }

// X11 is not supported: there is no xauth.
func (w *Worker) X11(context.Context) ([]net.Listener, int, error) { return nil, 0, errX11 }

// DialUnix is not supported.
func (w *Worker) DialUnix(context.Context, string) (net.Conn, error) { return nil, errSocket }
