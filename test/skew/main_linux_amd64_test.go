package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// asSkew makes this test program skew.
const asSkew = "LANYARD_TEST_SKEW"

// asClock, as an argument, makes it a program that tells the time whenever it reads a line.
const asClock = "clock"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == asClock {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			fmt.Println(time.Now().Unix())
		}
		os.Exit(7)
	}
	if os.Getenv(asSkew) != "" {
		main()
	}
	os.Exit(m.Run())
}

func skewed(t *testing.T, file string, argv ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0], append([]string{file}, argv...)...)
	c.Env = append(os.Environ(), asSkew+"=1")
	return c
}

// set says how much a clock is off.
func set(t *testing.T, file string, off time.Duration) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(off.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// The clock of a program is off, and so is that of one that it starts, until somebody sets it; the kernel's own times stay
// right.
func TestClockIsOffUntilItIsSet(t *testing.T) {
	for name, script := range map[string]string{
		"a program that runs": `: >"$0"; exec "$1" ` + asClock, "programs that it starts": `: >"$0"; while read -r line; do date +%s; done; exit 7`,
	} {
		t.Run(name, func(t *testing.T) { setsClock(t, script) })
	}
}

func setsClock(t *testing.T, script string) {
	dir := t.TempDir()
	file, touched := filepath.Join(dir, "off"), filepath.Join(dir, "touched")
	set(t, file, -10*time.Hour)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := skewed(t, file, "sh", "-c", script, touched, self)
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	// shown is by how much the clock is off now, to the hour.
	shown := func() time.Duration {
		t.Helper()
		if _, err := io.WriteString(in, "\n"); err != nil {
			t.Fatal(err)
		}
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		seconds, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return time.Until(time.Unix(seconds, 0)).Round(time.Hour)
	}
	if off := shown(); off != -10*time.Hour {
		t.Errorf("the clock is off by %s, want -10h", off)
	}
	if fi, err := os.Stat(touched); err != nil || time.Since(fi.ModTime()).Abs() > time.Hour {
		t.Errorf("a new file is of another time: %v, %v", fi, err)
	}
	for _, want := range []time.Duration{5 * time.Hour, 0} {
		set(t, file, want)
		off := shown()
		for end := time.Now().Add(time.Minute); off != want && time.Now().Before(end); off = shown() {
			time.Sleep(10 * time.Millisecond)
		}
		if off != want {
			t.Errorf("set to %s, the clock is off by %s", want, off)
		}
	}
	in.Close()
	if err := c.Wait(); c.ProcessState.ExitCode() != 7 {
		t.Errorf("the program's exit status 7 became %v", err)
	}
}

func TestWhatIsNoDurationIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "off")
	if err := os.WriteFile(file, []byte("late"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := skewed(t, file, "date").CombinedOutput(); err == nil || !strings.HasPrefix(string(out), "skew: ") {
		t.Error(fmt.Sprint(err), string(out))
	}
}
