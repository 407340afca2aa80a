package early

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The package is initialised early only as long as it does not import what everything else needs.
func TestImportsStayFew(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Skip("no go command here: ", err)
	}
	for _, dep := range strings.Fields(string(out)) {
		switch dep {
		case "fmt", "os/user", "net", "regexp", "path/filepath", "os/exec", "strings":
			t.Errorf("imports %s", dep)
		}
	}
}

func TestGoodOnlyForAFreshLineOfThisHome(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	os.Mkdir(filepath.Join(home, ".ssh"), 0o700)
	now := time.Now().Unix()
	line := func(after, ends, issued int64) string {
		return "v1 " + strconv.FormatInt(after, 10) + " " + strconv.FormatInt(ends, 10) + " " + strconv.FormatInt(issued, 10) + "\n"
	}
	name := filepath.Join(home, ".ssh", "lanyard-default-p1.fresh")
	for _, tc := range []struct {
		line string
		args []string
		want bool
	}{
		{line(now+60, now+60, now), []string{"default", "p1"}, true},
		{line(now+60, now+60, now-200), []string{"default", "p1", "300"}, false},
		{line(now+60, now+60, now-100), []string{"default", "p1", "300"}, true},
		{line(now-1, now+60, now), []string{"default", "p1"}, false},
		{line(now+60, now-1, now), []string{"default", "p1"}, false},
		{line(now+60, now+60, now), []string{"default", "p2"}, false},
		{line(now+60, now+60, now), []string{"../.ssh/lanyard-default", "p1"}, false},
		{line(now+60, now+60, now), []string{"default", "p1", "x"}, false},
		{line(now+60, now+60, now), []string{"default", "p1", "100.110.0.5"}, true},
		{line(now+60, now+60, now-200), []string{"default", "p1", "300", "100.110.0.5"}, false},
		{line(now+60, now+60, now-100), []string{"default", "p1", "300", "100.110.0.5"}, true},
		{"v2 1 2 3", []string{"default", "p1"}, false},
		{"", []string{"default", "p1"}, false},
	} {
		os.WriteFile(name, []byte(tc.line), 0o600)
		if got := good(tc.args); got != tc.want {
			t.Errorf("%q %q: %v", tc.line, tc.args, got)
		}
	}
}

func TestMachineCertificateIsGoodForItsAccountWhileNobodyIsSignedIn(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	os.Mkdir(filepath.Join(home, ".ssh"), 0o700)
	now := time.Now().Unix()
	line := func(after, ends int64, account string) string {
		return "v1 " + strconv.FormatInt(now+after, 10) + " " + strconv.FormatInt(now+ends, 10) + " " + strconv.FormatInt(now, 10) + account + "\n"
	}
	for _, tc := range []struct {
		name, machine, login string
		args                 []string
		want                 bool
	}{
		{"fresh", line(60, 120, " ansible"), "", []string{"0", "builder,ansible"}, true},
		{"with the address", line(60, 120, " ansible"), "", []string{"0", "ansible", "100.110.0.5"}, true},
		{"a target that takes no machines", line(60, 120, " ansible"), "", []string{"0"}, false},
		{"a target that names others", line(60, 120, " ansible"), "", []string{"0", "builder,ansibl,ansiblex"}, false},
		{"no account in the line", line(60, 120, ""), "", []string{"0", "ansible"}, false},
		{"due", line(-1, 120, " ansible"), "", []string{"0", "ansible"}, false},
		{"a younger token is for people", line(60, 120, " ansible"), "", []string{"1", "ansible"}, true},
		{"a person's sign-in is due", line(60, 120, " ansible"), line(-1, 120, ""), []string{"0", "ansible"}, false},
		{"a person's sign-in has ended", line(60, 120, " ansible"), line(-60, -1, ""), []string{"0", "ansible"}, true},
		{"a person's sign-in is good", line(-1, -1, " ansible"), line(60, 120, ""), []string{"0", "ansible"}, true},
	} {
		for name, content := range map[string]string{"lanyard-machine.default-p1": tc.machine, "lanyard-default-p1": tc.login} {
			file := filepath.Join(home, ".ssh", name+".fresh")
			os.Remove(file)
			if content != "" {
				os.WriteFile(file, []byte(content), 0o600)
			}
		}
		if got := good(append([]string{"default", "p1"}, tc.args...)); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}
