package flow

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"
)

func packet(kind byte, n int) []byte {
	p := make([]byte, 4+1+1+n)
	binary.BigEndian.PutUint32(p, uint32(2+n))
	p[5] = kind
	return p
}

func TestWhatGetsNoAnswerIsAcknowledgedAtOnce(t *testing.T) {
	line := []byte("SSH-2.0-OpenSSH_9.2p1\r\n")
	init, ecdh, keys := packet(msgKexInit, 1100), packet(30, 42), packet(msgNewKeys, 10)
	for name, c := range map[string]struct {
		piece []byte
		want  bool
	}{
		"an identification":                {line, false},
		"KEXINIT":                          {init, true},
		"an identification and KEXINIT":    {bytes.Join([][]byte{line, init}, nil), true},
		"the beginning of a KEXINIT":       {bytes.Join([][]byte{line, init[:200]}, nil), true},
		"KEXINIT and a guess":              {bytes.Join([][]byte{init, ecdh}, nil), false},
		"the key exchange":                 {ecdh, false},
		"NEWKEYS":                          {keys, true},
		"NEWKEYS and what follows":         {bytes.Join([][]byte{keys, packet(0xc3, 30)}, nil), false},
		"nothing":                          {nil, false},
		"a piece of a packet":              {init[:4], false},
		"a length beyond all":              {[]byte{0xff, 0xff, 0xff, 0xff, 0xff, 30}, false},
		"an identification without an end": {[]byte("SSH-2.0-"), false},
	} {
		if got := unanswered(c.piece); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// A client that says nothing before the server does gets the server's line at once, and once.
func TestTheGreetingComesFirstAndOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := Wrap(nc)
	defer c.Close()
	_ = client.SetDeadline(time.Now().Add(time.Minute))
	const line = "SSH-2.0-Lanyard\r\n"
	if err := c.Greet(line); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(line))
	if _, err := io.ReadFull(client, got); err != nil || string(got) != line {
		t.Fatalf("%q, %v", got, err)
	}
	for _, p := range []string{line[:5], line[5:] + "a", "b"} { // as the transport writes it
		if n, err := c.Write([]byte(p)); n != len(p) || err != nil {
			t.Fatalf("%q: %d, %v", p, n, err)
		}
	}
	if _, err := io.ReadFull(client, got[:2]); err != nil || string(got[:2]) != "ab" {
		t.Fatalf("after the greeting came %q, %v", got[:2], err)
	}
}

func FuzzUnanswered(f *testing.F) {
	for _, p := range [][]byte{packet(msgKexInit, 40), packet(msgNewKeys, 10), []byte("SSH-2.0-x\r\n"), {0, 0, 0, 2, 0, 21}, {0xff, 0xff, 0xff, 0xff, 0, 20}} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if unanswered(p) && !(bytes.IndexByte(p, msgKexInit) >= 0 || bytes.IndexByte(p, msgNewKeys) >= 0) {
			t.Fatalf("% x holds neither message", p)
		}
	})
}
