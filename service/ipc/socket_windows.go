package ipc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/Microsoft/go-winio"
	"golang.org/x/sys/windows"
)

func dialLocal(ctx context.Context, path string) (net.Conn, error) {
	conn, err := winio.DialPipeContext(ctx, path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, err
	}
	// Anyone may make a pipe of a free name, to be told secrets: its owner must be the system, the administrators or
	// this user.
	f, ok := conn.(interface{ Fd() uintptr })
	if !ok {
		conn.Close()
		return nil, errors.New("the pipe's owner cannot be read")
	}
	sd, err := windows.GetSecurityInfo(windows.Handle(f.Fd()), windows.SE_KERNEL_OBJECT, windows.OWNER_SECURITY_INFORMATION)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("read the pipe's owner: %w", err)
	}
	owner, _, err := sd.Owner()
	if err != nil || !trusted(owner) {
		conn.Close()
		return nil, errors.New("the pipe belongs to another account and is told nothing")
	}
	return conn, nil
}

func trusted(owner *windows.SID) bool {
	if owner == nil {
		return false
	}
	if owner.IsWellKnown(windows.WinLocalSystemSid) || owner.IsWellKnown(windows.WinBuiltinAdministratorsSid) {
		return true
	}
	me, err := windows.GetCurrentProcessToken().GetTokenUser()
	return err == nil && owner.Equals(me.User.Sid)
}

// Listen opens the pipe. A machine's (system) is for every account of the machine but network logons; a user's own is
// for that user. Windows refuses a second listener of the same name.
func Listen(path string, system bool) (net.Listener, error) {
	// D:P protected; NU network logons denied; SY system, BA administrators, AU signed-in accounts.
	sddl := "D:P(D;;GA;;;NU)(A;;GA;;;SY)(A;;GA;;;BA)(A;;GRGW;;;AU)"
	if !system {
		me, err := windows.GetCurrentProcessToken().GetTokenUser()
		if err != nil {
			return nil, fmt.Errorf("read this process's user: %w", err)
		}
		sddl = "D:P(D;;GA;;;NU)(A;;GA;;;SY)(A;;GA;;;" + me.User.Sid.String() + ")"
	}
	l, err := winio.ListenPipe(path, &winio.PipeConfig{SecurityDescriptor: sddl})
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		return nil, fmt.Errorf("another Lanyard service already listens on %s; 'lanyard status' shows it", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open the pipe: %w", err)
	}
	return l, nil
}
