package flow

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"lanyard/test/calm"
)

// pair is a TCP connection: our end wrapped, and the client's.
func pair(t *testing.T) (*Conn, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := Wrap(server)
	t.Cleanup(func() { c.Close(); client.Close() })
	return c, client.(*net.TCPConn)
}

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(b)
	return b
}

func TestBytesCrossInOrderBothWays(t *testing.T) {
	c, client := pair(t)
	want := noise(5 << 20)
	var wg sync.WaitGroup
	wg.Go(func() { // pieces as x/crypto/ssh writes them: a buffer's worth and the rest, and single bytes
		for rest, i := want, 0; len(rest) > 0; i++ {
			n := min(len(rest), []int{4096, 28 << 10, 1, 300 << 10, 52}[i%5])
			if _, err := c.Write(rest[:n]); err != nil {
				t.Error(err)
				return
			}
			rest = rest[n:]
		}
		if err := c.CloseWrite(); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		client.Write(want)
		client.CloseWrite()
	})
	wg.Go(func() {
		if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, want) {
			t.Errorf("read %d bytes of %d: %v", len(got), len(want), err)
		}
	})
	if got, err := io.ReadAll(client); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the client read %d bytes of %d: %v", len(got), len(want), err)
	}
	wg.Wait()
}

func TestCloseSendsWhatWasWritten(t *testing.T) {
	for range 50 {
		c, client := pair(t)
		if _, err := c.Write([]byte("exit-status 0")); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(client); err != nil || string(got) != "exit-status 0" {
			t.Fatalf("the client read %q: %v", got, err)
		}
	}
}

func TestDeafClientHoldsNothingForLong(t *testing.T) {
	calm.Within(t, 10*lastWords, func() time.Duration { return closeOnTheDeaf(t) })
}

// closeOnTheDeaf closes a connection whose client takes nothing, and says how long that took.
func closeOnTheDeaf(t *testing.T) (took time.Duration) {
	t.Helper()
	c, _ := pair(t)
	full := make(chan error, 1)
	go func() {
		b := make([]byte, big)
		for {
			if _, err := c.Write(b); err != nil {
				full <- err
				return
			}
		}
	}()
	select {
	case err := <-full:
		t.Fatalf("a client that reads nothing ended the writer: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	began := time.Now()
	c.Close()
	took = time.Since(began)
	if err := <-full; !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the writer got %v", err)
	}
	if _, err := c.Write([]byte("x")); err == nil {
		t.Error("a closed connection takes more")
	}
	return took
}

func TestADeadlineReachesTheWriter(t *testing.T) {
	c, _ := pair(t)
	c.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
	b := make([]byte, big)
	for range 1000 {
		if _, err := c.Write(b); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%v", err)
			}
			return
		}
	}
	t.Error("no error ever came")
}

func TestAnIdleConnectionHoldsNoBuffer(t *testing.T) {
	c, client := pair(t)
	client.Write([]byte("hello"))
	b := make([]byte, 16)
	if n, err := c.Read(b); err != nil || string(b[:n]) != "hello" {
		t.Fatal(err)
	}
	c.Write([]byte("hi"))
	io.ReadFull(client, b[:2])
	c.drain()
	if c.buf != nil || c.out.buf != nil {
		t.Error("a buffer is held while nothing moves")
	}
}

func TestChannelsAreCopiedWholeAndCounted(t *testing.T) {
	want := noise(1 << 20)
	var m, back Meter
	moved := 0
	m.Moved = func() { moved++ }
	var out bytes.Buffer
	if err := FromChannel(&out, io.MultiReader(bytes.NewReader(want[:7]), bytes.NewReader(want[7:])), &m); err != nil || !bytes.Equal(out.Bytes(), want) {
		t.Errorf("from the channel: %d bytes, %v", out.Len(), err)
	}
	r, w, err := Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() { w.Write(want); w.Close() }()
	out.Reset()
	if err := ToChannel(&out, r, &back); err != nil || !bytes.Equal(out.Bytes(), want) {
		t.Errorf("to the channel: %d bytes, %v", out.Len(), err)
	}
	if m.In.Load() != int64(len(want)) || back.Out.Load() != int64(len(want)) || moved == 0 {
		t.Errorf("counted %d in, %d out, moved %d times", m.In.Load(), back.Out.Load(), moved)
	}
}
