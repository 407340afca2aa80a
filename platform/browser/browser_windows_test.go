package browser

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/windows"
)

// Where a token is split, its full half (which UAC gives out, and which all of Wine runs with) opens no browser, and the
// half that a desktop runs with does.
func TestBrowserGetsNoRightsThatWereAskedFor(t *testing.T) {
	own := windows.GetCurrentProcessToken()
	other, err := own.GetLinkedToken()
	if err != nil {
		t.Skip("the token is not split here: ", err)
	}
	defer other.Close()
	full, limited := own, other
	if !own.IsElevated() {
		full, limited = other, own
	}
	if !raised(full) || raised(limited) {
		t.Errorf("raised: full %v, limited %v", raised(full), raised(limited))
	}
	t.Setenv("BROWSER", "")
	if err := Open("http://localhost/"); full == own && !errors.Is(err, ErrNone) {
		t.Errorf("with full rights: %v", err)
	}
}

func TestBrowserOfTheVariableGetsThePage(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "got")
	t.Setenv("BROWSER", `C:\nowhere.exe;`+os.Getenv("COMSPEC")+` /c mkdir `+file+` & rem %s`)
	if !Available() {
		t.Error("there is none")
	}
	if err := Open("http://127.0.0.1/x"); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(file); err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal("it was not started")
		}
	}
}
