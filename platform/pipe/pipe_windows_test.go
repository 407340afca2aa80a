package pipe

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// Wine lets a second listener take a name, and knows no other account: both are on the list for a real machine
// (test/windows.md).
func TestPipeCarriesBothWays(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	const path = `\\.\pipe\lanyard-pipe-test`
	if c, err := Dial(ctx, path); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("nobody listens: %v, %v", c, err)
	}
	for _, who := range []Audience{Everyone, Own, Administrators} {
		l, err := Listen(path, who)
		if err != nil {
			t.Fatalf("audience %d: %v", who, err)
		}
		go echo(l)
		c, err := Dial(ctx, path)
		if err != nil {
			t.Fatalf("audience %d: %v", who, err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		got := make([]byte, 5)
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Errorf("audience %d: %v", who, err)
		} else if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
			t.Errorf("audience %d: %q, %v", who, got, err)
		}
		c.Close()
		l.Close()
	}
}

func echo(l net.Listener) {
	c, err := l.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = io.Copy(c, c)
}
