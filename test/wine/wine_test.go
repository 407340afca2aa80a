//go:build linux

package wine

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A machine runs programs, keeps its files and registry apart from another's, and leaves nothing.
func TestMachinesAreApart(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	build := filepath.Join("..", "..", ".build")
	one, err := Open(ctx, build)
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	two, err := Open(ctx, build)
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	const key = `HKLM\Software\Of One`
	if _, err := one.Run(ctx, "reg", "add", key, "/v", "who", "/d", "one", "/f"); err != nil {
		t.Fatal(err)
	}
	if got, err := one.Registry(ctx, key); err != nil || !strings.Contains(got, `"who"="one"`) {
		t.Errorf("the registry says %q, %v", got, err)
	}
	if got, err := two.Registry(ctx, key); err != nil || got != "" {
		t.Errorf("the other machine has it, too: %q, %v", got, err)
	}
	out, err := one.Run(ctx, "cmd", "/c", `echo %USERNAME%& echo here>C:\here.txt& ver`)
	if err != nil || !strings.Contains(out, one.User) || !strings.Contains(out, " 10.0") {
		t.Errorf("cmd said %q, %v; want the account %q and Windows 10", out, err, one.User)
	}
	if _, err := os.Stat(one.Path(`C:\here.txt`)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(two.Path(`C:\here.txt`)); err == nil {
		t.Error("the other machine has the file, too")
	}
	if links, _ := filepath.Glob(filepath.Join(one.Dir, "drive_c/users/*/*")); len(links) == 0 {
		t.Error("the account has no profile")
	} else {
		for _, l := range links {
			if to, err := os.Readlink(l); err == nil && !strings.HasPrefix(to, one.Dir) {
				t.Errorf("%s leads out of the machine, to %s", l, to)
			}
		}
	}
	if err := one.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(one.Dir); err == nil {
		t.Error("the machine's files are still there")
	}
	running := func() (left []string) {
		cmds, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, c := range cmds {
			if b, err := os.ReadFile(c); err == nil && strings.Contains(string(b), "WINEPREFIX="+one.Dir+"\x00") {
				cmd, _ := os.ReadFile(filepath.Join(filepath.Dir(c), "cmdline"))
				left = append(left, string(cmd))
			}
		}
		return left
	}
	for end := time.Now().Add(time.Minute); len(running()) > 0; time.Sleep(20 * time.Millisecond) { // they were killed
		if time.Now().After(end) {
			t.Fatalf("still running: %q", running())
		}
	}
}
