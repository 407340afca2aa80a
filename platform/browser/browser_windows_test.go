package browser

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

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
