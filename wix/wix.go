// Package wix makes the Windows Installer package from lanyard.wxs, with wixl and msibuild of Debian's msitools.
//
// Wixl silently leaves out what it does not know, so every word that it says fails the build; the tables that it cannot
// write (what Windows does when the service fails, the PATH, which properties may pass to the elevated part, and which
// never stand in a log) are added afterwards.
package wix

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed" // the file beside
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

//go:embed lanyard.wxs
var source []byte

// Options say what goes into a package.
type Options struct {
	Version string // of Windows Installer: three numbers, 255.255.65535 at most
	Arch    string // amd64 or arm64
	// Files of the programs. Tray and Wintun may be empty: then the package has none, and the service works without a
	// network interface of its own.
	Service, Tray, Wintun string
	// Time is when everything is said to have been made.
	Time time.Time
	Out  string
}

// Build writes the package.
func Build(ctx context.Context, o Options) (err error) {
	work, err := os.MkdirTemp("", "lanyard-wix-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	id := func(what string) string { return guid(what, o.Version, o.Arch) }
	args := []string{"-a", "x64", "-D", "Version=" + o.Version, "-D", "Product=" + id("product")}
	for name, file := range map[string]string{"lanyard.exe": o.Service, "lanyard-tray.exe": o.Tray, "wintun.dll": o.Wintun} {
		if file == "" {
			continue
		}
		if err := copyFile(file, filepath.Join(work, name), o.Time); err != nil {
			return err
		}
	}
	wxs, out := filepath.Join(work, "lanyard.wxs"), filepath.Join(work, "lanyard.msi")
	text := given(given(string(source), "Tray", o.Tray != ""), "Wintun", o.Wintun != "")
	if err := os.WriteFile(wxs, []byte(text), 0o600); err != nil {
		return err
	}
	if said, err := run(ctx, work, "wixl", append(args, "-o", out, wxs)...); err != nil || strings.TrimSpace(said) != "" {
		return fmt.Errorf("wixl left something out, or failed: %s (%v)", strings.TrimSpace(said), err)
	}
	all := tables
	if o.Tray != "" {
		all = append(slices.Clone(tables), plainShortcut)
	}
	for _, q := range all {
		if said, err := run(ctx, work, "msibuild", out, "-q", q); err != nil || strings.TrimSpace(said) != "" {
			return fmt.Errorf("msibuild: %s: %s (%w)", q, strings.TrimSpace(said), err)
		}
	}
	// wixl knows neither arm64 nor a package code that is the same for the same package.
	platform := map[string]string{"amd64": "x64;1033", "arm64": "Arm64;1033"}[o.Arch]
	if platform == "" {
		return fmt.Errorf("there is no Windows package for %q", o.Arch)
	}
	if said, err := run(ctx, work, "msibuild", out, "-s", "Lanyard", "Lanyard", platform, "{"+id("package")+"}"); err != nil {
		return fmt.Errorf("msibuild: write the summary: %s (%w)", said, err)
	}
	if err := redate(out, o.Time); err != nil {
		return err
	}
	return copyFile(out, o.Out, o.Time)
}

// summaryID is FMTID_SummaryInformation (MS-OLEPS §2.25.1), which stands in the head of the package's summary.
var summaryID = []byte{0xe0, 0x85, 0x9f, 0xf2, 0xf9, 0x4f, 0x68, 0x10, 0xab, 0x91, 0x08, 0x00, 0x2b, 0x27, 0xb3, 0xd9}

// redate replaces the times of the summary, which are those of the build: VT_FILETIME values (MS-OLEPS §2.15), counted
// in 100 ns since 1601.
func redate(file string, stamp time.Time) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	const (
		epoch    = 116444736000000000 // 1970
		head     = 28                 // bytes of a property set (§2.21) before the identifier of its first section
		filetime = 0x40
	)
	word := func(at int) int {
		if at < 0 || at+12 > len(b) { // room for a value, too
			return -1
		}
		return int(binary.LittleEndian.Uint32(b[at:]))
	}
	times := 0
	for at := 0; ; at += len(summaryID) {
		i := bytes.Index(b[at:], summaryID)
		if i < 0 {
			break
		}
		at += i
		if word(at-head) != 0xfffe { // the byte order's mark, and version 0
			continue
		}
		section := at - head + word(at+len(summaryID))
		for n := range min(word(section+4), 32) { // of properties: an identifier and where the value is
			if value := section + word(section+8+8*n+4); word(value) == filetime {
				binary.LittleEndian.PutUint64(b[value+4:], uint64(stamp.UnixNano()/100+epoch))
				times++
			}
		}
	}
	if times == 0 {
		return errors.New("the package has no summary with times where Windows Installer looks for it; wixl or msibuild writes it in another way than this program knows")
	}
	return os.WriteFile(file, b, 0o600)
}

// given keeps or drops what stands between <?ifdef name?> and <?endif?>: wixl's own preprocessor fails on the second.
func given(text, name string, keep bool) string {
	begin, end := "<?ifdef "+name+"?>", "<?endif?>"
	for {
		before, rest, ok := strings.Cut(text, begin)
		if !ok {
			return text
		}
		inside, after, _ := strings.Cut(rest, end)
		if text = before + after; keep {
			text = before + inside + after
		}
	}
}

// tables is what wixl cannot write.
var tables = []string{
	// Properties that the person's own, not elevated part of msiexec may hand on, and one that no log shows.
	set("SecureCustomProperties", "WIX_DOWNGRADE_DETECTED;WIX_UPGRADE_DETECTED;MANAGEMENT_URL;SETUP_KEY;SETUP_KEY_FILE;ALLOW_SSH;START_TRAY"),
	"INSERT INTO `Property` (`Property`,`Value`) VALUES ('MsiHiddenProperties','SETUP_KEY;Setup')",
	// The setup key stands in this action's command line: 8192 is msidbCustomActionTypeHideTarget.
	"UPDATE `CustomAction` SET `Type` = 11346 WHERE `Action` = 'Setup'",
	"UPDATE `Component` SET `Condition` = 'MANAGEMENT_URL' WHERE `Component` = 'Url'",
	"UPDATE `Component` SET `Condition` = 'START_TRAY' WHERE `Component` = 'TrayChoice'",
	"UPDATE `Component` SET `Condition` = 'NOT (START_TRAY = 0)' WHERE `Component` = 'TrayStart'",
	"CREATE TABLE `Environment` (`Environment` CHAR(72) NOT NULL, `Name` CHAR(255) NOT NULL LOCALIZABLE, `Value` CHAR(255) LOCALIZABLE, `Component_` CHAR(72) NOT NULL PRIMARY KEY `Environment`)",
	"INSERT INTO `Environment` (`Environment`,`Name`,`Value`,`Component_`) VALUES ('Path','=-*PATH','[~];[INSTALLDIR]','Service')",
	"INSERT INTO `InstallExecuteSequence` (`Action`,`Condition`,`Sequence`) VALUES ('RemoveEnvironmentStrings','',3300)",
	"INSERT INTO `InstallExecuteSequence` (`Action`,`Condition`,`Sequence`) VALUES ('WriteEnvironmentStrings','',5200)",
	// 1: restart. After 2 s, 5 s and then every 30 s; a day without a fault starts the count anew.
	"CREATE TABLE `MsiServiceConfigFailureActions` (`MsiServiceConfigFailureActions` CHAR(72) NOT NULL, `Name` CHAR(255) NOT NULL LOCALIZABLE, `Event` SHORT NOT NULL, `ResetPeriod` LONG, `RebootMessage` CHAR(255) LOCALIZABLE, `Command` CHAR(255) LOCALIZABLE, `Actions` CHAR(255), `DelayActions` CHAR(255), `Component_` CHAR(72) NOT NULL PRIMARY KEY `MsiServiceConfigFailureActions`)",
	"INSERT INTO `MsiServiceConfigFailureActions` (`MsiServiceConfigFailureActions`,`Name`,`Event`,`ResetPeriod`,`Actions`,`DelayActions`,`Component_`) VALUES ('Recovery','lanyard',1,86400,'1[~]1[~]1','2000[~]5000[~]30000','Service')",
	"INSERT INTO `InstallExecuteSequence` (`Action`,`Condition`,`Sequence`) VALUES ('MsiConfigureServices','VersionMsi >= \"5.00\"',5850)",
}

// plainShortcut leads to the file: wixl makes an advertised one, which repairs the package when it is clicked.
const plainShortcut = "UPDATE `Shortcut` SET `Target` = '[#tray.exe]' WHERE `Shortcut` = 'TrayShortcut'"

func set(property, value string) string {
	return fmt.Sprintf("UPDATE `Property` SET `Value` = '%s' WHERE `Property` = '%s'", value, property)
}

func run(ctx context.Context, dir, program string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, program, args...)
	c.Dir = dir
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	err := c.Run()
	if errors.Is(err, exec.ErrNotFound) {
		err = fmt.Errorf("%w: install Debian's wixl and msitools", err)
	}
	return said.String(), err
}

// guid is the same for the same words (RFC 9562 §5.8: whoever makes one of version 8 says how).
func guid(words ...string) string {
	h := sha256.Sum256([]byte("lanyard msi v1\x00" + strings.Join(words, "\x00")))
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80
	return strings.ToUpper(fmt.Sprintf("%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16]))
}

func copyFile(from, to string, stamp time.Time) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	return os.Chtimes(to, stamp, stamp)
}
