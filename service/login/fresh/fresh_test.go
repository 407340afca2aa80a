package fresh

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestLineFromTheFutureIsNotBelieved(t *testing.T) {
	now := time.Now()
	l := Line{RefreshAfter: now.Add(48 * time.Hour), Ends: now.Add(72 * time.Hour), Issued: now.Add(47 * time.Hour)}
	if l.Good(now, 0) {
		t.Error("believed")
	}
}

func TestForeignFileSaysNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	now := time.Now()
	name := filepath.Join(t.TempDir(), "x.fresh")
	l := Line{RefreshAfter: now.Add(time.Hour), Ends: now.Add(time.Hour), Issued: now}
	os.WriteFile(name, []byte(l.String()), 0o644)
	if got, err := Read(name); err != nil || !got.Good(now, 0) {
		t.Fatalf("own file: %v", err)
	}
	os.Chown(name, 65534, 65534)
	if _, err := Read(name); err == nil {
		t.Error("another user's file was believed")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("v1 1 2 3\n")
	f.Add("v1 9999999999999999999 2 3\n")
	f.Add("v1 1 2")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(got.String())
		if err != nil || again != got {
			t.Fatalf("%q: %v %v", s, again, err)
		}
	})
}
