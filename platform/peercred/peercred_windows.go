package peercred

import (
	"fmt"
	"net"

	"golang.org/x/sys/windows"
)

// of asks for the process that opened the pipe and reads the user of its token. It is called as soon as the pipe is
// accepted, before the process can be gone and its number given away.
func of(c net.Conn) (Cred, error) {
	f, ok := c.(interface{ Fd() uintptr }) // go-winio's pipe
	if !ok {
		return Cred{}, ErrNotLocal
	}
	var pid uint32
	if err := windows.GetNamedPipeClientProcessId(windows.Handle(f.Fd()), &pid); err != nil {
		return Cred{}, fmt.Errorf("read the caller's process: %w", err)
	}
	proc, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, pid)
	if err != nil {
		return Cred{}, fmt.Errorf("open the caller's process %d: %w", pid, err)
	}
	defer windows.CloseHandle(proc)
	var tok windows.Token
	if err := windows.OpenProcessToken(proc, windows.TOKEN_QUERY, &tok); err != nil {
		return Cred{}, fmt.Errorf("open the caller's token: %w", err)
	}
	defer tok.Close()
	u, err := tok.GetTokenUser()
	if err != nil {
		return Cred{}, fmt.Errorf("read the caller's user: %w", err)
	}
	return Cred{PID: int(pid), SID: u.User.Sid.String()}, nil
}
