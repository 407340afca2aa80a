package browser

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"testing"
	"time"
)

func TestOnlyWebPagesAreOpened(t *testing.T) {
	t.Setenv("BROWSER", "touch "+filepath.Join(t.TempDir(), "opened"))
	for _, u := range []string{"", "file:///etc/passwd", "javascript:alert(1)", "--help", "http://", "https:x", "ftp://h/"} {
		if err := Open(u); err == nil || errors.Is(err, ErrNone) {
			t.Errorf("%q: %v", u, err)
		}
	}
}

func TestBrowserVariableIsAListOfCommands(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the list is separated otherwise there")
	}
	got := commands("firefox --new-tab %s: w3m :", "http://h/?a=b&c=$(x)")
	want := [][]string{{"firefox", "--new-tab", "http://h/?a=b&c=$(x)"}, {"w3m", "http://h/?a=b&c=$(x)"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
}

func TestNextBrowserIsTriedWhenOneFails(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs a shell script")
	}
	dir := t.TempDir()
	script := filepath.Join(dir, "b")
	os.WriteFile(script, []byte("#!/bin/sh\nprintf %s \"$1\" >"+dir+"/got.new\nmv "+dir+"/got.new "+dir+"/got\n"), 0o755)
	t.Setenv("BROWSER", "/nowhere/browser:false:"+script)
	const page = "http://127.0.0.1/x?y=1&z=%20"
	if err := open(page, time.Minute); err != nil { // however long a program takes to begin and to fail
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if b, err := os.ReadFile(filepath.Join(dir, "got")); err == nil {
			if string(b) != page {
				t.Errorf("got %q", b)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatal("the third browser was not started")
		}
	}
}

func TestWithoutADesktopThereIsNone(t *testing.T) {
	if runtime.GOOS != "linux" && runtime.GOOS != "freebsd" {
		t.Skip("a desktop is always there")
	}
	t.Setenv("BROWSER", "")
	t.Setenv("DISPLAY", "")
	t.Setenv("WAYLAND_DISPLAY", "")
	if err := Open("http://localhost/"); !errors.Is(err, ErrNone) || Available() {
		t.Errorf("%v", err)
	}
}
