package accounts

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// SameName reports whether Lookup may find the account of that canonical name when it is asked for the other. It
// compares without case, as Windows does. A local account is called by its name alone, with this machine's before it or
// with a dot (Windows' own short form); of a domain's account the domain may be left out.
func SameName(canonical, asked string) bool {
	if strings.EqualFold(canonical, asked) {
		return true
	}
	if domain, short, ok := strings.Cut(canonical, `\`); ok {
		return domain != "" && strings.EqualFold(short, asked)
	}
	machine, short, ok := strings.Cut(asked, `\`)
	return ok && isMachine(machine) && strings.EqualFold(canonical, short)
}

// Unresolved is what a name says of an account before anybody looks it up: that of a local account comes without this
// machine's, and the beginning of a SID says that case does not count.
func Unresolved(name string) Account {
	if domain, short, ok := strings.Cut(name, `\`); ok && isMachine(domain) {
		name = short
	}
	return Account{Name: name, UID: "S-1-"}
}

// isMachine reports whether a domain's name is that of this machine's own accounts.
func isMachine(domain string) bool {
	name, err := windows.ComputerName()
	return domain == "." || err == nil && strings.EqualFold(domain, name)
}

func lookup(name string) (Account, error) {
	domain, short, ok := strings.Cut(name, `\`)
	if !ok {
		domain, short = ".", name
	}
	var u *user.User
	err := error(user.UnknownUserError(name))
	// The machine's own account of a name comes before any domain's.
	if machine, cerr := windows.ComputerName(); cerr == nil && isMachine(domain) {
		u, err = user.Lookup(machine + `\` + short)
	}
	if err != nil {
		u, err = user.Lookup(name)
	}
	if unknown := user.UnknownUserError(""); errors.As(err, &unknown) || errors.Is(err, windows.ERROR_NONE_MAPPED) {
		return Account{}, fmt.Errorf("%q: %w", name, ErrNotFound)
	}
	if err != nil {
		return Account{}, fmt.Errorf("ask Windows for the account %q: %w", name, err)
	}
	a := Account{Name: u.Username, UID: u.Uid, Home: u.HomeDir, Shell: shell()}
	if domain, short, ok := strings.Cut(a.Name, `\`); ok && isMachine(domain) {
		a.Name, a.Locked = short, closed(short)
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
	if a.Privileged || a.System {
		return a, nil
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

// userInfo is USER_INFO_2 as far as it is read.
type userInfo struct {
	name, password                                    *uint16
	passwordAge, priv                                 uint32
	homeDir, comment                                  *uint16
	flags                                             uint32
	scriptPath                                        *uint16
	authFlags                                         uint32
	fullName, userComment, parameters, workstations   *uint16
	lastLogon, lastLogoff, accountExpires, maxStorage uint32
}

// Flags of lmaccess.h, and TIMEQ_FOREVER.
const (
	accountDisabled = 0x2
	accountLocked   = 0x10
	never           = ^uint32(0)
)

// closed reports whether a local account is disabled, locked out or expired. A domain's is asked about at logon.
func closed(name string) bool {
	n, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return true
	}
	var buf *byte
	if err := windows.NetUserGetInfo(nil, n, 2, &buf); err != nil {
		return false // Windows says so again when it is to be logged on
	}
	defer windows.NetApiBufferFree(buf)
	info := (*userInfo)(unsafe.Pointer(buf))
	expired := info.accountExpires != 0 && info.accountExpires != never && time.Now().Unix() > int64(info.accountExpires)
	return info.flags&(accountDisabled|accountLocked) != 0 || expired
}

// PolicyKey is the registry's key, below HKEY_LOCAL_MACHINE, of what Group Policy and Intune settle for Lanyard.
const PolicyKey = `SOFTWARE\Policies\Lanyard`

// shell is the machine's choice of a shell: what an administrator set for Lanyard, else for Windows' own OpenSSH
// server, else cmd.exe.
func shell() string {
	for _, key := range []string{PolicyKey, `SOFTWARE\OpenSSH`} {
		k, err := registry.OpenKey(registry.LOCAL_MACHINE, key, registry.QUERY_VALUE|registry.WOW64_64KEY)
		if err != nil {
			continue
		}
		v, _, err := k.GetStringValue("DefaultShell")
		k.Close()
		if fi, serr := os.Stat(v); err == nil && filepath.IsAbs(v) && serr == nil && fi.Mode().IsRegular() {
			return v
		}
	}
	if dir, err := windows.GetSystemDirectory(); err == nil {
		return filepath.Join(dir, "cmd.exe")
	}
	return `C:\Windows\System32\cmd.exe`
}
