package pipe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/Microsoft/go-winio"
	"golang.org/x/sys/windows"
)

// Dial opens a pipe. Anyone may make a pipe of a free name, to be told secrets: its owner must be the system, the
// administrators, this user, or one of also (SIDs). Without such a pipe the error is os.ErrNotExist.
func Dial(ctx context.Context, path string, also ...string) (net.Conn, error) {
	conn, err := winio.DialPipeContext(ctx, path)
	if err != nil {
		return nil, err
	}
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
	if err != nil || owner == nil || !trusted(owner) && !slices.Contains(also, owner.String()) {
		conn.Close()
		return nil, errors.New("the pipe belongs to another account and is told nothing")
	}
	return conn, nil
}

func trusted(owner *windows.SID) bool {
	if owner.IsWellKnown(windows.WinLocalSystemSid) || owner.IsWellKnown(windows.WinBuiltinAdministratorsSid) {
		return true
	}
	me, err := windows.GetCurrentProcessToken().GetTokenUser()
	return err == nil && owner.Equals(me.User.Sid)
}

// Audience is who may open a pipe: Everyone is every account of the machine, Own this user and the system, Administrators
// those two and the administrators.
type Audience int

// Who may open a pipe; network logons never may.
const (
	Everyone Audience = iota
	Own
	Administrators
)

// Listen opens a pipe. Windows refuses a second listener of the same name: the error is windows.ERROR_ACCESS_DENIED.
func Listen(path string, who Audience) (net.Listener, error) {
	// D:P protected; NU network logons denied; SY system, BA administrators, AU signed-in accounts.
	sddl := "D:P(D;;GA;;;NU)(A;;GA;;;SY)"
	if who != Own {
		sddl += "(A;;GA;;;BA)"
	}
	if who == Everyone {
		sddl += "(A;;GRGW;;;AU)"
	} else {
		me, err := windows.GetCurrentProcessToken().GetTokenUser()
		if err != nil {
			return nil, fmt.Errorf("read this process's user: %w", err)
		}
		sddl += "(A;;GA;;;" + me.User.Sid.String() + ")"
	}
	return winio.ListenPipe(path, &winio.PipeConfig{SecurityDescriptor: sddl})
}
