package paths

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTextIsRead(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "config")
	if err := os.WriteFile(name, []byte("Host *\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if b, err := ReadText(name); err != nil || string(b) != "Host *\n" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestTextThatIsTooLargeOrNoneIsRefused(t *testing.T) {
	dir := t.TempDir()
	if b, err := ReadText(filepath.Join(dir, "nothing")); !os.IsNotExist(err) {
		t.Errorf("nothing there: %q, %v", b, err)
	}
	if b, err := ReadText(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a folder: %q, %v", b, err)
	}
	large := filepath.Join(dir, "large")
	for size, good := range map[int64]bool{maxSmall: true, maxSmall + 1: false} {
		if err := os.WriteFile(large, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(large, size); err != nil {
			t.Fatal(err)
		}
		if b, err := ReadText(large); (err == nil) != good || good && int64(len(b)) != size {
			t.Errorf("%d bytes: %d, %v", size, len(b), err)
		}
	}
}
