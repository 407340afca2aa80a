package units

import (
	"os/exec"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"howett.net/plist"
)

// job is a launchd property list as a Mac reads it (launchd.plist(5)).
type job struct {
	Label, UserName, GroupName, LimitLoadToSessionType string
	ProgramArguments                                   []string
	RunAtLoad                                          bool
	KeepAlive                                          any
	Umask                                              int
}

func read(t *testing.T, text string, err error) (j job) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plist.Unmarshal([]byte(text), &j); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return j
}

func TestPropertyListsRunTheirPrograms(t *testing.T) {
	list, err := Launchd(Name, "/usr/local/bin/lanyard")
	if j := read(t, list, err); j.Label != Name || !reflect.DeepEqual(j.ProgramArguments, []string{"/usr/local/bin/lanyard", "service", "run"}) || !j.RunAtLoad || j.KeepAlive != true || j.UserName != "" {
		t.Errorf("%+v", j)
	}
	list, err = Launchd(Tray, "/usr/local/bin/lanyard-tray")
	if j := read(t, list, err); j.Label != Tray || j.LimitLoadToSessionType != "Aqua" || !j.RunAtLoad || len(j.ProgramArguments) != 2 {
		t.Errorf("%+v", j)
	}
	list, err = LaunchdServer("/usr/local/bin/lanyard-mgmt", []string{"--listen=192.168.1.10:8443", "--url=https://x/?a=1&b=<2>"})
	want := []string{"/usr/local/bin/lanyard-mgmt", "serve", "--state", ServerStateBSD, "--listen=192.168.1.10:8443", "--url=https://x/?a=1&b=<2>"}
	if j := read(t, list, err); j.Label != Mgmt || !reflect.DeepEqual(j.ProgramArguments, want) || j.UserName != ServerAccountMacOS || j.GroupName != ServerAccountMacOS || j.Umask != 0o077 {
		t.Errorf("%+v", j)
	}
}

var placeholder = regexp.MustCompile(`@[A-Z]+@`)

// Every file names the program, and keeps no placeholder.
func TestServiceFilesAreWhole(t *testing.T) {
	for name, make := range map[string]func() (string, error){
		"unit": func() (string, error) { return Systemd(Name, "/opt/x/lanyard") }, "server's unit": func() (string, error) { return Systemd(Mgmt, "/opt/x/lanyard") },
		"rc.d": func() (string, error) { return RCD(Name, "/opt/x/lanyard") }, "server's rc.d": func() (string, error) { return RCD(Mgmt, "/opt/x/lanyard") },
		"OpenRC": func() (string, error) { return OpenRC(Name, "/opt/x/lanyard") }, "server's OpenRC": func() (string, error) { return OpenRC(Mgmt, "/opt/x/lanyard") },
		"plist": func() (string, error) { return Launchd(Name, "/opt/x/lanyard") }, "server's plist": func() (string, error) { return LaunchdServer("/opt/x/lanyard", nil) },
	} {
		text, err := make()
		if err != nil || placeholder.MatchString(text) || !strings.Contains(text, "/opt/x/lanyard") {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
		if strings.HasPrefix(text, "#!/") {
			c := exec.Command("sh", "-n")
			c.Stdin = strings.NewReader(text)
			if out, err := c.CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", name, err, out)
			}
		}
		// kardianos reads what it is given as a template.
		if strings.Contains(text, "{{") {
			t.Errorf("%s has a template's braces", name)
		}
	}
}

// rc(8) and sysrc(8) want both: a name for the variable, and a default.
func TestRCScriptsHaveTheirVariable(t *testing.T) {
	for service, name := range map[string]string{Name: "lanyard", Mgmt: "lanyard_mgmt"} {
		text, err := RCD(service, "/usr/local/bin/"+service)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"# PROVIDE: " + name + "\n", "\nname=\"" + name + "\"\n", "\nrcvar=\"" + name + "_enable\"\n", ": \"${" + name + "_enable:=\"NO\"}\"\n", "\nrun_rc_command \"$1\"\n"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q", service, want)
			}
		}
	}
}

func TestProgramsWithOddPathsAreRefused(t *testing.T) {
	for _, bad := range []string{"lanyard", "", "/opt/my programs/lanyard", "/opt/x;reboot", "/opt/%n", "/opt/$x", "/opt/\n", "/opt/<x>"} {
		if _, err := Systemd(Name, bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
