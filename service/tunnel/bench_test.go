package tunnel

import (
	"io"
	"net"
	"net/netip"
	"testing"
)

// BenchmarkUserspace is one TCP stream through two userspace tunnels of this machine.
func BenchmarkUserspace(b *testing.B) {
	one, two, ma, mb := userPair(b)
	two.SetAdmit(true, []string{ma.ID})
	l := two.Listener()
	conns := make(chan net.Conn, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			conns <- c
		}
	}()
	c, err := one.Dial(b.Context(), netip.AddrPortFrom(mb.A4, 22))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	got := <-conns
	buf := make([]byte, 1<<20)
	b.SetBytes(int64(len(buf)))
	b.ResetTimer()
	done := make(chan struct{})
	go func() {
		_, _ = io.CopyN(io.Discard, got, int64(b.N)*int64(len(buf)))
		close(done)
	}()
	for range b.N {
		if _, err := c.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	<-done
}
