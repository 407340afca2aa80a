package paths

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/windows"
)

func TestMachineDirIsForTheSystemAndAdministrators(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "machine")
	for range 2 { // made, then taken
		if err := MachineDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	// Wine keeps of an access list what a Unix mode can say; test/windows.md has the rest.
	if othersWrite(dir, nil) {
		t.Error("others may write")
	}
}

func TestWhatIsNoFolderIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, make := range []func(string) error{MachineDir, SharedDir} {
		if make(file) == nil {
			t.Error("a file is taken for a folder")
		}
	}
}

func TestSharedDirKeepsAListAndRefusesOneThatOthersWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shared")
	if err := SharedDir(dir); err != nil {
		t.Fatal(err)
	}
	if err := SharedDir(dir); err != nil {
		t.Errorf("its own: %v", err)
	}
	everyone, err := windows.SecurityDescriptorFromString("D:P(A;OICI;FA;;;WD)")
	if err != nil {
		t.Fatal(err)
	}
	acl, _, err := everyone.DACL()
	if err != nil {
		t.Fatal(err)
	}
	if err := windows.SetNamedSecurityInfo(dir, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, acl, nil); err != nil {
		t.Fatal(err)
	}
	if err := SharedDir(dir); err == nil || !strings.Contains(err.Error(), "other users") {
		t.Errorf("a folder that everyone may change: %v", err)
	}
}

func TestAServicesAccountHasWindowsOwnSID(t *testing.T) {
	if got := ServiceSID("TrustedInstaller"); got != trustedInstaller {
		t.Errorf("%s, want %s", got, trustedInstaller)
	}
	dir := filepath.Join(t.TempDir(), "server")
	for range 2 { // made, then taken
		if err := ServiceDir(dir, "lanyard-mgmt"); err != nil {
			t.Fatal(err)
		}
	}
}
