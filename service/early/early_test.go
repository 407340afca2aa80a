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
		{"v2 1 2 3", []string{"default", "p1"}, false},
		{"", []string{"default", "p1"}, false},
	} {
		os.WriteFile(name, []byte(tc.line), 0o600)
		if got := good(tc.args); got != tc.want {
			t.Errorf("%q %q: %v", tc.line, tc.args, got)
		}
	}
}
