package flow

import (
	"bytes"
	"encoding/binary"
	"syscall"
	"time"
)

// acks decides when what a client sent is acknowledged. Clients write in small pieces under Nagle's algorithm: what
// follows a KEXINIT or a NEWKEYS, which no server answers, waits for its acknowledgement, and the system's comes after
// 40 ms. Everything else gets an answer, which carries the acknowledgement: one of its own is one packet more for both
// ends of the tunnel.
type acks struct {
	rc    syscall.RawConn
	left  int         // pieces that are still looked at
	timer *time.Timer // for an answer that does not come
}

const (
	ackPieces = 40                   // a handshake has 11; a whole session would cost throughput
	ackWait   = 2 * time.Millisecond // for an answer
)

func newAcks(rc syscall.RawConn) *acks {
	delayAcks(rc)
	a := &acks{rc: rc, left: ackPieces}
	a.timer = time.AfterFunc(time.Hour, func() { ackNow(rc) })
	a.timer.Stop()
	return a
}

// received is told of each piece, by one reader at a time.
func (a *acks) received(piece []byte) {
	if a == nil || a.left == 0 {
		return
	}
	if a.left--; unanswered(piece) {
		ackNow(a.rc)
		return
	}
	a.timer.Reset(ackWait)
}

// answered is told before each piece that is written.
func (a *acks) answered() {
	if a != nil {
		a.timer.Stop()
	}
}

// Messages that have no answer (RFC 4253 §12).
const (
	msgKexInit = 20
	msgNewKeys = 21
)

// unanswered reports whether a piece ends with one of them. Both come in the clear; what is encrypted hardly ever looks
// like it, and would only be acknowledged early.
func unanswered(piece []byte) bool {
	if bytes.HasPrefix(piece, []byte("SSH-")) {
		_, piece, _ = bytes.Cut(piece, []byte("\n"))
	}
	last := byte(0)
	for len(piece) > 5 { // RFC 4253 §6: uint32 length of what follows, byte of padding, message
		n := uint64(binary.BigEndian.Uint32(piece)) + 4
		last = piece[5]
		if n >= uint64(len(piece)) {
			break
		}
		piece = piece[n:]
	}
	return last == msgKexInit || last == msgNewKeys
}
