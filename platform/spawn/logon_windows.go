package spawn

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/windows"

	"lanyard/platform/accounts"
)

var (
	secur32                   = windows.NewLazySystemDLL("secur32.dll")
	lsaRegisterLogonProcess   = secur32.NewProc("LsaRegisterLogonProcess")
	lsaLookupPackage          = secur32.NewProc("LsaLookupAuthenticationPackage")
	lsaLogonUser              = secur32.NewProc("LsaLogonUser")
	lsaFreeReturnBuffer       = secur32.NewProc("LsaFreeReturnBuffer")
	lsaDeregisterLogonProcess = secur32.NewProc("LsaDeregisterLogonProcess")

	userenv           = windows.NewLazySystemDLL("userenv.dll")
	loadUserProfile   = userenv.NewProc("LoadUserProfileW")
	unloadUserProfile = userenv.NewProc("UnloadUserProfile")

	advapi32                = windows.NewLazySystemDLL("advapi32.dll")
	impersonateLoggedOnUser = advapi32.NewProc("ImpersonateLoggedOnUser")
)

// self is the user of this process, and whether that is the system itself, which may act for everyone.
func self() (sid *windows.SID, system bool, err error) {
	u, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return nil, false, fmt.Errorf("read this process's user: %w", err)
	}
	return u.User.Sid, u.User.Sid.IsWellKnown(windows.WinLocalSystemSid), nil
}

// isOwn reports whether a is the account of this process.
func isOwn(a accounts.Account) bool {
	sid, _, err := self()
	return err == nil && sid.String() == a.UID
}

// CanServe reports whether this process can act for the account: the system for every one, others for their own.
func CanServe(a accounts.Account) bool {
	_, system, err := self()
	return err == nil && system || isOwn(a)
}

// Networkless reports whether programs of the account have no credentials for other machines: it is logged on without
// its password.
func Networkless(a accounts.Account) bool { return !isOwn(a) }

// As runs f with the rights of the account, on a thread of its own. What f starts elsewhere (goroutines) has not got
// them.
func As(a accounts.Account, f func()) error {
	if isOwn(a) {
		f()
		return nil
	}
	if !CanServe(a) {
		return ErrAccount
	}
	tok, err := logon(a)
	if err != nil {
		return err
	}
	defer tok.Close()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if ok, _, err := impersonateLoggedOnUser.Call(uintptr(tok)); ok == 0 {
			done <- fmt.Errorf("take the rights of %s: %w", a.Name, err)
			return // and the thread ends
		}
		f()
		if err := windows.RevertToSelf(); err != nil {
			done <- fmt.Errorf("give the rights of %s back: %w", a.Name, err)
			return // the thread ends with the rights that it could not give back
		}
		runtime.UnlockOSThread()
		done <- nil
	}()
	return <-done
}

// identity is what the processes of a session run with.
type identity struct {
	token   windows.Token // 0: this process's own
	profile windows.Handle
	env     []string // the account's own environment
	dir     string   // where its programs start
}

// identify logs the account on and loads its profile, which is its part of the registry.
func identify(a accounts.Account) (*identity, error) {
	id := new(identity)
	tok := windows.Token(0)
	if isOwn(a) {
		own, err := windows.OpenCurrentProcessToken()
		if err != nil {
			return nil, fmt.Errorf("open this process's token: %w", err)
		}
		defer own.Close()
		tok = own
	} else {
		if !CanServe(a) {
			return nil, ErrAccount
		}
		var err error
		if id.token, err = logon(a); err != nil {
			return nil, err
		}
		tok = id.token
		if err := id.load(a); err != nil {
			id.close()
			return nil, err
		}
	}
	var err error
	if id.env, err = tok.Environ(false); err != nil {
		id.close()
		return nil, fmt.Errorf("read the environment of %s: %w", a.Name, err)
	}
	id.dir = a.Home
	if d, err := tok.GetUserProfileDirectory(); err == nil {
		id.dir = d
	}
	if fi, err := os.Stat(id.dir); err != nil || !fi.IsDir() {
		if id.dir, err = windows.GetSystemWindowsDirectory(); err != nil {
			id.dir = ""
		}
	}
	return id, nil
}

// profileInfo is PROFILEINFOW.
type profileInfo struct {
	size, flags                                         uint32
	userName, path, defaultPath, serverName, policyPath *uint16
	profile                                             windows.Handle
}

// noUI is PI_NOUI: no window about a profile that is damaged.
const noUI = 1

func (id *identity) load(a accounts.Account) error {
	_, short, ok := strings.Cut(a.Name, `\`)
	if !ok {
		short = a.Name
	}
	name, err := windows.UTF16PtrFromString(short)
	if err != nil {
		return err
	}
	info := profileInfo{flags: noUI, userName: name}
	info.size = uint32(unsafe.Sizeof(info))
	if ok, _, err := loadUserProfile.Call(uintptr(id.token), uintptr(unsafe.Pointer(&info))); ok == 0 {
		return fmt.Errorf("load the profile of %s: %w", a.Name, err)
	}
	id.profile = info.profile
	return nil
}

func (id *identity) close() {
	if id.profile != 0 {
		_, _, _ = unloadUserProfile.Call(uintptr(id.token), uintptr(id.profile))
	}
	if id.token != 0 {
		id.token.Close()
	}
}

// lsaString is LSA_STRING: bytes of the ANSI code page.
type lsaString struct {
	length, maximum uint16
	buffer          *byte
}

func newLSAString(s string) *lsaString {
	b := append([]byte(s), 0)
	return &lsaString{uint16(len(s)), uint16(len(b)), &b[0]}
}

// s4uLogon is MSV1_0_S4U_LOGON and KERB_S4U_LOGON, which have one layout.
type s4uLogon struct {
	messageType, flags uint32
	user, domain       windows.NTUnicodeString
}

// Of ntsecapi.h: MsV1_0S4ULogon and KerbS4ULogon are both 12; a network logon needs no right that ordinary accounts
// lack (SeNetworkLogonRight), where a batch logon does.
const (
	messageS4U   = 12
	logonNetwork = 3
)

var privileges = sync.OnceValue(func() error {
	return enable("SeTcbPrivilege", "SeAssignPrimaryTokenPrivilege", "SeIncreaseQuotaPrivilege", "SeBackupPrivilege", "SeRestorePrivilege")
})

// logon makes a primary token of the account, without a password: "service for user" (MS-SFU). Such a token has the
// account's groups and rights on this machine, and no credentials for others.
func logon(a accounts.Account) (windows.Token, error) {
	if err := privileges(); err != nil {
		return 0, err
	}
	failed := func(what string, err error) (windows.Token, error) {
		return 0, fmt.Errorf("log %s on without a password: %s: %w", a.Name, what, err)
	}
	var lsa windows.Handle
	var mode uint32
	if st, _, _ := lsaRegisterLogonProcess.Call(uintptr(unsafe.Pointer(newLSAString("lanyard"))), uintptr(unsafe.Pointer(&lsa)), uintptr(unsafe.Pointer(&mode))); st != 0 {
		return failed("ask the security authority", windows.NTStatus(st))
	}
	defer lsaDeregisterLogonProcess.Call(uintptr(lsa))
	domain, user, foreign := strings.Cut(a.Name, `\`)
	pack := "MICROSOFT_AUTHENTICATION_PACKAGE_V1_0"
	if foreign {
		pack = "Kerberos"
		// The domain's own spelling, where it can be asked; else Kerberos looks for user and realm.
		if sam, err := windows.UTF16PtrFromString(a.Name); err == nil {
			if upn, err := translate(sam); err == nil {
				user, domain = upn, ""
			}
		}
	} else {
		user, domain = a.Name, "."
	}
	var id uint32
	if st, _, _ := lsaLookupPackage.Call(uintptr(lsa), uintptr(unsafe.Pointer(newLSAString(pack))), uintptr(unsafe.Pointer(&id))); st != 0 {
		return failed("find the package "+pack, windows.NTStatus(st))
	}
	request, size, err := newS4U(user, domain)
	if err != nil {
		return failed("ask", err)
	}
	source := struct {
		name [8]byte
		id   windows.LUID
	}{name: [8]byte{'l', 'a', 'n', 'y', 'a', 'r', 'd'}}
	var profile unsafe.Pointer
	var profileSize uint32
	var luid windows.LUID
	var got windows.Token
	var quotas [64]byte // QUOTA_LIMITS is 48 bytes long
	var sub uint32
	st, _, _ := lsaLogonUser.Call(uintptr(lsa), uintptr(unsafe.Pointer(newLSAString("lanyard"))), logonNetwork, uintptr(id),
		uintptr(request), uintptr(size), 0, uintptr(unsafe.Pointer(&source)), uintptr(unsafe.Pointer(&profile)), uintptr(unsafe.Pointer(&profileSize)),
		uintptr(unsafe.Pointer(&luid)), uintptr(unsafe.Pointer(&got)), uintptr(unsafe.Pointer(&quotas)), uintptr(unsafe.Pointer(&sub)))
	runtime.KeepAlive(request)
	if profile != nil {
		_, _, _ = lsaFreeReturnBuffer.Call(uintptr(profile))
	}
	if st != 0 {
		err := windows.NTStatus(st)
		if sub != 0 {
			err = windows.NTStatus(sub)
		}
		return failed("it may not log on here (an account of Microsoft Entra alone cannot)", err)
	}
	defer got.Close()
	var primary windows.Token
	if err := windows.DuplicateTokenEx(got, windows.MAXIMUM_ALLOWED, nil, windows.SecurityImpersonation, windows.TokenPrimary, &primary); err != nil {
		return failed("make its token a process's", err)
	}
	return primary, nil
}

// translate turns DOMAIN\user into user@dns.domain.
func translate(sam *uint16) (string, error) {
	n := uint32(256)
	for {
		b := make([]uint16, n)
		err := windows.TranslateName(sam, windows.NameSamCompatible, windows.NameUserPrincipal, &b[0], &n)
		if err == nil {
			return windows.UTF16ToString(b), nil
		}
		if !errors.Is(err, windows.ERROR_INSUFFICIENT_BUFFER) || n <= uint32(len(b)) {
			return "", err
		}
	}
}

// newS4U lays the request out in one piece of memory, strings behind the structure, as LsaLogonUser wants it.
func newS4U(user, domain string) (unsafe.Pointer, uintptr, error) {
	u, err := windows.UTF16FromString(user)
	if err != nil {
		return nil, 0, err
	}
	d, err := windows.UTF16FromString(domain)
	if err != nil {
		return nil, 0, err
	}
	head := unsafe.Sizeof(s4uLogon{})
	words := make([]uint64, (int(head)+2*(len(u)+len(d))+7)/8) // aligned for pointers
	base := unsafe.Pointer(&words[0])
	put := func(s *windows.NTUnicodeString, at uintptr, text []uint16) {
		s.Buffer = (*uint16)(unsafe.Add(base, at))
		s.Length, s.MaximumLength = uint16(2*(len(text)-1)), uint16(2*len(text))
		copy(unsafe.Slice(s.Buffer, len(text)), text)
	}
	r := (*s4uLogon)(base)
	r.messageType = messageS4U
	put(&r.user, head, u)
	put(&r.domain, head+uintptr(2*len(u)), d)
	return base, uintptr(len(words) * 8), nil
}

// enable switches privileges on that this process has.
func enable(names ...string) error {
	var tok windows.Token
	if err := windows.OpenProcessToken(windows.CurrentProcess(), windows.TOKEN_ADJUST_PRIVILEGES|windows.TOKEN_QUERY, &tok); err != nil {
		return fmt.Errorf("open this process's token: %w", err)
	}
	defer tok.Close()
	for _, n := range names {
		name, err := windows.UTF16PtrFromString(n)
		if err != nil {
			return err
		}
		p := windows.Tokenprivileges{PrivilegeCount: 1}
		p.Privileges[0].Attributes = windows.SE_PRIVILEGE_ENABLED
		if err := windows.LookupPrivilegeValue(nil, name, &p.Privileges[0].Luid); err != nil {
			return fmt.Errorf("find the privilege %s: %w", n, err)
		}
		if err := windows.AdjustTokenPrivileges(tok, false, &p, 0, nil, nil); err != nil {
			return fmt.Errorf("switch the privilege %s on: %w", n, err)
		}
	}
	return nil
}
