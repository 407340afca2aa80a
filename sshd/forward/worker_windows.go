package forward

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"lanyard/platform/accounts"
	"lanyard/platform/spawn"
)

// Worker opens sockets. On Windows the daemon does so itself, in a thread with the account's rights.
type Worker struct {
	account accounts.Account
	scope   *spawn.Scope
}

// NewWorker makes the worker of a connection.
func NewWorker(a accounts.Account, _ []string, scope *spawn.Scope, _ func(func())) *Worker {
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

var errWindows = errors.New("this kind of forwarding is not supported on Windows yet")

// ListenUnix is not supported yet.
func (w *Worker) ListenUnix(context.Context, string) (net.Listener, error) { return nil, errWindows }

// Remove has nothing to remove.
func (w *Worker) Remove(string) {}

// Agent is not supported yet.
func (w *Worker) Agent(context.Context) (net.Listener, string, error) { return nil, "", errWindows }

// X11 is not supported: there is no xauth.
func (w *Worker) X11(context.Context) ([]net.Listener, int, error) { return nil, 0, errWindows }

// DialUnix is not supported yet.
func (w *Worker) DialUnix(context.Context, string) (net.Conn, error) { return nil, errWindows }
