package paths

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"
)

// noWait: opening waits for nobody here.
const noWait = 0

// owned reports whether name belongs to this user, the system or the administrators.
func owned(name string, _ fs.FileInfo) bool {
	sd, err := windows.GetNamedSecurityInfo(name, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION)
	if err != nil {
		return false
	}
	owner, _, err := sd.Owner()
	return err == nil && owner != nil && trusted(owner)
}

// trusted are those who may change what is ours: this user, and whoever rules the machine anyway.
func trusted(sid *windows.SID) bool {
	if sid.IsWellKnown(windows.WinLocalSystemSid) || sid.IsWellKnown(windows.WinBuiltinAdministratorsSid) || sid.String() == trustedInstaller {
		return true
	}
	me, err := windows.GetCurrentProcessToken().GetTokenUser()
	return err == nil && sid.Equals(me.User.Sid)
}

// trustedInstaller owns the system's own files (MS-DTYP §2.4.2.4, NT SERVICE\TrustedInstaller).
const trustedInstaller = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"

// changing are the rights of a folder's access list with which one can change what is in it.
const changing = windows.FILE_WRITE_DATA | windows.FILE_APPEND_DATA | windows.FILE_WRITE_EA | 0x40 /* FILE_DELETE_CHILD */ |
	windows.DELETE | windows.WRITE_DAC | windows.WRITE_OWNER | windows.GENERIC_WRITE | windows.GENERIC_ALL

// othersWrite reads the access list: whether it lets anyone change the folder whom trusted does not name.
func othersWrite(dir string, _ fs.FileInfo) bool {
	sd, err := windows.GetNamedSecurityInfo(dir, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return true
	}
	acl, _, err := sd.DACL()
	if err != nil || acl == nil { // no list: everyone may do everything
		return true
	}
	for i := range uint32(acl.AceCount) {
		var ace *windows.ACCESS_ALLOWED_ACE
		if err := windows.GetAce(acl, i, &ace); err != nil {
			return true
		}
		if ace.Header.AceType != windows.ACCESS_ALLOWED_ACE_TYPE || ace.Mask&changing == 0 {
			continue
		}
		sid := (*windows.SID)(unsafe.Pointer(&ace.SidStart))
		if !trusted(sid) && !sid.IsWellKnown(windows.WinCreatorOwnerSid) && !sid.IsWellKnown(windows.WinCreatorOwnerRightsSid) {
			return true
		}
	}
	return false
}

// othersRead: MachineDir gives the folder of such files a list that lets nobody else read them.
func othersRead(fs.FileInfo) bool { return false }

func takeAway(dir string) string {
	return fmt.Sprintf(`take their rights away with 'icacls "%s" /inheritance:r /grant:r *S-1-5-18:(OI)(CI)F *S-1-5-32-544:(OI)(CI)F'`, dir)
}

// machineSDDL is the access list of what is the machine's: full control for the system and the administrators and,
// where a service runs in a console, its user; users holds the entry for everyone else.
func machineSDDL(inherit, users string) (string, error) {
	me, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return "", fmt.Errorf("read this process's user: %w", err)
	}
	sddl := "D:P(A;" + inherit + ";FA;;;SY)(A;" + inherit + ";FA;;;BA)"
	if !me.User.Sid.IsWellKnown(windows.WinLocalSystemSid) {
		sddl += "(A;" + inherit + ";FA;;;" + me.User.Sid.String() + ")"
	}
	return sddl + users, nil
}

// MachineDir makes a folder of the machine's own, or takes the one that is there: everyone may enter it and read the
// names in it, only the system and administrators may change it or read the files, but for those that are written for
// everyone. ProgramData lets every user make folders, so one that belongs to somebody else, or that leads elsewhere, is
// refused.
func MachineDir(dir string) error { return machineDir(dir, "(A;;0x1200a9;;;BU)", true) }

// SharedDir makes a folder that only the system and administrators may change, and where everyone may read the files,
// too: OpenSSH's. One that is there keeps its access list and is refused where that lets others change it.
func SharedDir(dir string) error { return machineDir(dir, "(A;OICI;0x1200a9;;;AU)", false) }

func machineDir(dir, users string, own bool) error {
	sddl, err := machineSDDL("OICI", users)
	if err != nil {
		return err
	}
	sd, err := windows.SecurityDescriptorFromString(sddl)
	if err != nil {
		return fmt.Errorf("read the access list %s: %w", sddl, err)
	}
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return err
	}
	sa := windows.SecurityAttributes{SecurityDescriptor: sd}
	sa.Length = uint32(unsafe.Sizeof(sa))
	err = windows.CreateDirectory(name, &sa)
	if errors.Is(err, windows.ERROR_PATH_NOT_FOUND) {
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
			return fmt.Errorf("make the folder %s: %w", filepath.Dir(dir), err)
		}
		err = windows.CreateDirectory(name, &sa)
	}
	if err != nil && !errors.Is(err, windows.ERROR_ALREADY_EXISTS) {
		return fmt.Errorf("make the folder %s: %w", dir, err)
	}
	if err := takeDir(dir, name, sd, own); err != nil || own {
		return err
	}
	return checkDir(dir)
}

// takeDir checks what lies there, by one handle, so that nobody can put something else in its place meanwhile.
func takeDir(dir string, name *uint16, sd *windows.SECURITY_DESCRIPTOR, own bool) error {
	h, err := windows.CreateFile(name, windows.READ_CONTROL|windows.WRITE_DAC|windows.FILE_READ_ATTRIBUTES,
		windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE, nil, windows.OPEN_EXISTING,
		windows.FILE_FLAG_OPEN_REPARSE_POINT|windows.FILE_FLAG_BACKUP_SEMANTICS, 0)
	if err != nil {
		return fmt.Errorf("open the folder %s: %w", dir, err)
	}
	defer windows.CloseHandle(h)
	var info windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(h, &info); err != nil {
		return fmt.Errorf("read the kind of %s: %w", dir, err)
	}
	if info.FileAttributes&windows.FILE_ATTRIBUTE_DIRECTORY == 0 || info.FileAttributes&windows.FILE_ATTRIBUTE_REPARSE_POINT != 0 {
		return fmt.Errorf("%s is not a folder but leads elsewhere; nothing is written into it. Remove it and try again", dir)
	}
	is, err := windows.GetSecurityInfo(h, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return fmt.Errorf("read the owner of %s: %w", dir, err)
	}
	owner, _, err := is.Owner()
	if err != nil || owner == nil || !trusted(owner) {
		return fmt.Errorf("the folder %s belongs to another user; nothing is written into it. See what is in it, remove it and try again", dir)
	}
	acl, _, err := sd.DACL()
	if err != nil {
		return fmt.Errorf("read an access list of our own: %w", err)
	}
	if !own || dacl(is.String()) == dacl(sd.String()) {
		return nil
	}
	if err := windows.SetSecurityInfo(h, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, acl, nil); err != nil {
		return fmt.Errorf("keep others out of the folder %s: %w", dir, err)
	}
	return nil
}

// dacl is the entries of a descriptor in its text form.
func dacl(sddl string) string {
	if i := strings.Index(sddl, "("); i >= 0 {
		return sddl[i:]
	}
	return ""
}

// allow gives a new file the access list of the one that it is to replace. One that everyone is to read, and that has
// no predecessor, gets an entry for them; any other inherits its folder's list.
func allow(f *os.File, name string, perm os.FileMode) error {
	flags := windows.SECURITY_INFORMATION(windows.DACL_SECURITY_INFORMATION)
	sd, err := windows.GetNamedSecurityInfo(name, windows.SE_FILE_OBJECT, flags)
	switch {
	case err == nil:
		control, _, err := sd.Control()
		if err != nil {
			return fmt.Errorf("read the access list of %s: %w", name, err)
		}
		if control&windows.SE_DACL_PROTECTED == 0 {
			return nil // inherited, as the new one's is
		}
	case perm&0o004 == 0 || !privileged():
		return nil
	default:
		sddl, err := machineSDDL("", "(A;;FR;;;AU)")
		if err != nil {
			return err
		}
		if sd, err = windows.SecurityDescriptorFromString(sddl); err != nil {
			return fmt.Errorf("read the access list %s: %w", sddl, err)
		}
	}
	acl, _, err := sd.DACL()
	if err != nil {
		return fmt.Errorf("read the access list of %s: %w", name, err)
	}
	return windows.SetNamedSecurityInfo(f.Name(), windows.SE_FILE_OBJECT, flags|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, acl, nil)
}

func syncDir(string) {}
