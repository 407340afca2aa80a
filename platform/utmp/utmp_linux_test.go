package utmp

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func files(t *testing.T) Files {
	t.Helper()
	dir := t.TempDir()
	f := Files{filepath.Join(dir, "utmp"), filepath.Join(dir, "wtmp"), filepath.Join(dir, "lastlog")}
	for _, p := range []string{f.utmp, f.wtmp, f.lastlog} {
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// who asks the system's own program about a file.
func who(t *testing.T, args ...string) string {
	t.Helper()
	c := exec.Command("who", args...)
	c.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func entry(line string, pid int) Entry {
	return Entry{
		Account: "ann", Uid: 3, Pid: pid, Line: line, Host: "100.64.0.1", Addr: netip.MustParseAddr("100.64.0.1").AsSlice(),
		Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}

func TestWhoShowsSessionsUntilTheyEnd(t *testing.T) {
	f := files(t)
	one, two := entry("pts/1", os.Getpid()), entry("pts/12", os.Getpid())
	for _, e := range []Entry{one, two} {
		if err := f.Login(e); err != nil {
			t.Fatal(err)
		}
	}
	want := "ann      pts/1        Jan  2 03:04 (100.64.0.1)\nann      pts/12       Jan  2 03:04 (100.64.0.1)\n"
	if got := who(t, f.utmp); got != want {
		t.Errorf("who: %q", got)
	}
	if err := f.Logout(one); err != nil {
		t.Fatal(err)
	}
	if got := who(t, f.utmp); strings.Contains(got, "pts/1 ") || !strings.Contains(got, "pts/12") {
		t.Errorf("after a logout: %q", got)
	}
	// The terminal is used again, and its place with it.
	if err := f.Login(one); err != nil {
		t.Fatal(err)
	}
	other := one
	other.Pid++
	if err := f.Logout(other); err != nil { // of a session that is long over
		t.Fatal(err)
	}
	if got := who(t, f.utmp); got != want {
		t.Errorf("used again: %q", got)
	}
	if st, _ := os.Stat(f.utmp); st.Size() != 2*int64(here().size) {
		t.Errorf("utmp has %d bytes", st.Size())
	}
	if st, _ := os.Stat(f.wtmp); st.Size() != 5*int64(here().size) {
		t.Errorf("wtmp has %d bytes", st.Size())
	}
}

func TestSystemsFilesAreWhereItsProgramsLook(t *testing.T) {
	// utmp(5), lastlog(8)
	if f := System(); f.utmp != "/run/utmp" || f.wtmp != "/var/log/wtmp" || f.lastlog != "/var/log/lastlog" {
		t.Errorf("%+v", f)
	}
}

func TestLastLoginIsRemembered(t *testing.T) {
	f := files(t)
	if l, ok := f.Last(3); ok {
		t.Errorf("before any: %+v", l)
	}
	e := entry("pts/1", 7)
	if err := f.Login(e); err != nil {
		t.Fatal(err)
	}
	if l, ok := f.Last(3); !ok || !l.Time.Equal(e.Time) || l.Host != e.Host || l.Line != e.Line {
		t.Errorf("%v %+v", ok, l)
	}
	if l, ok := f.Last(2); ok {
		t.Errorf("somebody else: %+v", l)
	}
}

func TestSystemsWithoutTheFilesKeepNone(t *testing.T) {
	dir := t.TempDir()
	f := Files{dir + "/utmp", dir + "/wtmp", dir + "/lastlog"}
	if err := f.Login(entry("pts/1", 7)); err != nil {
		t.Error(err)
	}
	if names, _ := os.ReadDir(dir); len(names) != 0 {
		t.Errorf("made %v", names)
	}
}
