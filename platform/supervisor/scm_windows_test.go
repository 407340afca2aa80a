package supervisor

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

func TestLogIsPutAsideWhenItIsLong(t *testing.T) {
	l := &LogFile{Path: filepath.Join(t.TempDir(), "lanyard.log")}
	long := bytes.Repeat([]byte("x"), maxLog-1)
	for _, b := range [][]byte{[]byte("first\n"), long, []byte("last\n")} {
		if n, err := l.Write(b); n != len(b) || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	if b, err := os.ReadFile(l.Path); err != nil || string(b) != "last\n" {
		t.Errorf("the log holds %d bytes, %v", len(b), err)
	}
	if b, err := os.ReadFile(l.Path + ".old"); err != nil || len(b) != len(long) {
		t.Errorf("the older one holds %d bytes, %v", len(b), err)
	}
	if err := l.file.Close(); err != nil {
		t.Error(err)
	}
}

func TestInAConsoleTheWorkIsDoneAtOnce(t *testing.T) {
	if !Interactive() {
		t.Fatal("a program that no service manager started is not interactive")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := Run(ctx, "lanyard-test", slog.New(slog.DiscardHandler), func(ctx context.Context) error { return ctx.Err() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the work's end is told as %v", err)
	}
}
