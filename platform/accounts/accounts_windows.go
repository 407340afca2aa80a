package accounts

import (
	"errors"
	"fmt"
	"os/user"
	"strings"

	"golang.org/x/sys/windows"
)

// sameName compares without case, as Windows does, and lets the domain be left out.
func sameName(canonical, asked string) bool {
	if strings.EqualFold(canonical, asked) {
		return true
	}
	_, short, ok := strings.Cut(canonical, `\`)
	return ok && strings.EqualFold(short, asked)
}

func lookup(name string) (Account, error) {
	u, err := user.Lookup(name)
	if unknown := user.UnknownUserError(""); errors.As(err, &unknown) || errors.Is(err, windows.ERROR_NONE_MAPPED) {
		return Account{}, fmt.Errorf("%q: %w", name, ErrNotFound)
	}
	if err != nil {
		return Account{}, fmt.Errorf("ask Windows for the account %q: %w", name, err)
	}
	a := Account{Name: u.Username, UID: u.Uid, Home: u.HomeDir, Shell: `C:\Windows\System32\cmd.exe`}
	if dir, err := windows.GetSystemDirectory(); err == nil {
		a.Shell = dir + `\cmd.exe`
	}
	// Well-known service accounts (MS-DTYP §2.4.2.4): LocalSystem, LocalService, NetworkService, NT SERVICE\*.
	switch sid := u.Uid; {
	case sid == "S-1-5-18":
		a.Privileged, a.System = true, true
	case sid == "S-1-5-19", sid == "S-1-5-20", strings.HasPrefix(sid, "S-1-5-80-"):
		a.System = true
	case strings.HasSuffix(sid, "-500"): // the built-in administrator, whatever its name
		a.Privileged = true
	}
	groups, err := u.GroupIds()
	if err != nil {
		return Account{}, fmt.Errorf("read the groups of %s: %w", name, err)
	}
	for _, g := range groups {
		if g == "S-1-5-32-544" { // BUILTIN\Administrators
			a.Privileged = true
		}
	}
	return a, nil
}
