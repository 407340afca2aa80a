package tunnel

import (
	"bytes"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/blake2s"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
)

const (
	portTries     = 100 // UDP ports tried, upwards from the wanted one
	maxCandidates = 16  // of one peer: a handshake goes to each

	repeatAfter = 300 * time.Millisecond // an initiation that is not answered; longer than most round trips
	anewAfter   = 700 * time.Millisecond // one that may have crossed the peer's, if no session came of either
	inHand      = 250 * time.Millisecond // how long WireGuard may take over a message; less than repeatAfter

	// An initiation of the peer's is refused when no response is sent so long before or after it: it comes several times.
	responseWithin = 500 * time.Millisecond
	callBackEvery  = time.Minute // at most, of a peer that does not answer
)

var errNoEndpoint = errors.New("no address of the peer is known yet")

// bind sends WireGuard's datagrams. A peer has one endpoint that works, which WireGuard sets from the last authenticated
// packet, and candidates that may. Handshake initiations (148 bytes, every two minutes or when the peer is silent) go to
// the endpoint and to all candidates: the first way through wins without waiting for the 5-second retry, and a peer
// that moved, or whose way broke, is found again. Everything else goes to the endpoint alone.
//
// Two initiations that cross each other would spoil one another: each side forgets its own when it takes the other's, and
// both wait for 5 s. Two machines that learn of each other at the same moment do just that. So the initiation of the
// greater public key wins: its side passes over the other's at first, and sends its own again, in case it was lost. And
// every initiation that is not answered is sent a second time soon: it mends most of what remains, and a lost datagram. What
// is left is a crossing inside of WireGuard, when it took the other's before its own was on the way: then the side of the
// greater key starts anew.
//
// Worse, WireGuard's workers mix up an initiation and a response of the same peer that they have in hand at the same time:
// one side then keeps a session whose index the other does not know, and what it sends is lost for 15 s. So they hardly get
// both: an initiation that comes in holds back an own one for a moment, and no initiation comes in so soon after a
// response. Nobody has proved who they are by an initiation, so what it does here is never more than a short delay.
//
// An initiation carries its sender's time, and WireGuard refuses one that is older than any before it. A machine whose clock
// was ahead, and was set, would be refused until the time that it had pretended: so whoever leaves an initiation without an
// answer soon begins a handshake of its own, for which its own clock counts. Nothing is given up for it, and it happens once
// a minute at most where nobody answers: whoever pretends to be the peer has no more of it than whoever changes their
// addresses.
type bind struct {
	conn.Bind
	now     func() time.Time
	self    device.NoisePublicKey
	mac1    [blake2s.Size]byte          // WireGuard's key for the mac1 of messages to us (whitepaper section 5.4.4)
	crossed func(device.NoisePublicKey) // told when another initiation may have spoilt ours; may be nil
	refused func(device.NoisePublicKey) // told when an initiation of the peer's was not answered; may be nil

	mu      sync.RWMutex // guards targets
	targets map[device.NoisePublicKey]*target
}

// target is a peer's candidates, and the endpoint that a peer has before one works.
type target struct {
	key  device.NoisePublicKey
	mac1 [blake2s.Size]byte // WireGuard's key for the mac1 of messages to the peer (whitepaper section 5.4.4)

	mu         sync.Mutex // guards all below
	addrs      []netip.AddrPort
	candidates []conn.Endpoint
	initiation []byte // the last one sent, and when: new candidates get it too
	sent       time.Time
	heard      time.Time      // when an initiation came from one of addrs or from works
	works      netip.AddrPort // the address that the peer's handshakes went to last, if it is none of addrs
	calledBack time.Time
	responded  time.Time // when a response was sent last
	passedOver [4]byte   // sender's index of the crossing initiation that was passed over, and when it came first
	passedAt   time.Time
	letIn      time.Time   // when WireGuard got an initiation of the peer's last
	answeredAt time.Time   // and a response
	repeat     *time.Timer // sends initiation again
	anew       *time.Timer // tells of a crossing
	refusal    *time.Timer // tells of an initiation without an answer
	kept       *time.Timer // sends an initiation that was held back
}

func newBind(inner conn.Bind, self device.NoisePublicKey, now func() time.Time) *bind {
	return &bind{Bind: inner, self: self, mac1: mac1Key(self), now: now, targets: map[device.NoisePublicKey]*target{}}
}

// Open listens on port or the next one that is free.
func (b *bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	var fns []conn.ReceiveFunc
	var actual uint16
	var err error
	for range portTries {
		fns, actual, err = b.Bind.Open(port)
		if err == nil || port == 0 || port == 65535 || !portInUse(err) {
			break
		}
		port++
	}
	for i, receive := range fns {
		fns[i] = func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
			n, err := receive(bufs, sizes, eps)
			for j := range n {
				if m := bufs[j][:sizes[j]]; len(m) > 0 && m[0] <= device.MessageResponseType && b.hides(m, eps[j]) {
					sizes[j] = 0 // WireGuard passes over it
				}
			}
			return n, err
		}
	}
	return fns, actual, err
}

// hides looks at handshake messages that come in, and says whether WireGuard should not see this one.
func (b *bind) hides(msg []byte, from conn.Endpoint) bool {
	switch {
	case len(msg) != device.MessageInitiationSize && len(msg) != device.MessageResponseSize || !hasMAC1(msg, &b.mac1):
		return false // WireGuard drops it; what anybody may send does nothing here
	case len(msg) == device.MessageResponseSize && msg[0] == device.MessageResponseType:
		b.mu.RLock()
		defer b.mu.RUnlock()
		for _, t := range b.targets {
			t.answered(msg[8:12], b.now()) // the receiver's index (whitepaper section 5.4.3)
		}
	case len(msg) == device.MessageInitiationSize && msg[0] == device.MessageInitiationType:
		addr, err := netip.ParseAddrPort(from.DstToString())
		if err != nil {
			return false
		}
		b.mu.RLock()
		defer b.mu.RUnlock()
		for _, t := range b.targets {
			if !t.hears(addr, b.now(), b.refused) {
				continue
			}
			hide, own := t.takes([4]byte(msg[4:8]), bytes.Compare(b.self[:], t.key[:]) > 0, b.now())
			if own != nil {
				_ = b.Bind.Send([][]byte{own}, from)
			}
			if hide {
				return true
			}
		}
	}
	return false
}

// setCandidates replaces a peer's candidates.
func (b *bind) setCandidates(key device.NoisePublicKey, addrs []netip.AddrPort) error {
	if len(addrs) > maxCandidates {
		addrs = addrs[:maxCandidates]
	}
	eps := make([]conn.Endpoint, 0, len(addrs))
	for _, a := range addrs {
		ep, err := b.Bind.ParseEndpoint(a.String())
		if err != nil {
			return fmt.Errorf("endpoint %s: %w", a, err)
		}
		eps = append(eps, ep)
	}
	b.mu.Lock()
	t := b.targets[key]
	if t == nil {
		t = &target{key: key}
		t.mac1 = mac1Key(key)
		b.targets[key] = t
	}
	b.mu.Unlock()

	t.mu.Lock()
	t.addrs, t.candidates = addrs, eps
	var again []byte
	if len(eps) > 0 && b.now().Sub(t.sent) < device.RekeyTimeout {
		again = t.initiation
	}
	t.mu.Unlock()
	if again != nil {
		// WireGuard sends the next one after 5 s; the peer takes whichever copy comes first and refuses the others.
		_ = b.spray(t, [][]byte{again}, "")
	}
	return nil
}

func (b *bind) remove(key device.NoisePublicKey) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.targets[key]; t != nil {
		t.forget()
		delete(b.targets, key)
	}
}

// Close closes the sockets and sends nothing more.
func (b *bind) Close() error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, t := range b.targets {
		t.forget()
	}
	return b.Bind.Close()
}

// ParseEndpoint reads an address, or "peer:" and a public key in hex for a peer's candidates.
func (b *bind) ParseEndpoint(s string) (conn.Endpoint, error) {
	name, isPeer := strings.CutPrefix(s, "peer:")
	if !isPeer {
		return b.Bind.ParseEndpoint(s)
	}
	var key device.NoisePublicKey
	if _, err := hex.Decode(key[:], []byte(name)); err != nil {
		return nil, fmt.Errorf("endpoint %q: %w", s, err)
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	if t := b.targets[key]; t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("endpoint %q: %w", s, errNoEndpoint)
}

// Send sends datagrams of one peer.
func (b *bind) Send(bufs [][]byte, ep conn.Endpoint) error {
	t, searching := ep.(*target)
	if isInitiation(bufs) {
		if !searching {
			t = b.receiver(bufs[0], ep)
		}
		if t == nil {
			return b.Bind.Send(bufs, ep)
		}
		if b.holdsBack(t, bufs[0], ep) {
			return nil
		}
		return b.initiate(t, bufs[0], ep)
	}
	if searching {
		return b.spray(t, bufs, "")
	}
	if len(bufs) == 1 && len(bufs[0]) == device.MessageResponseSize && bufs[0][0] == device.MessageResponseType {
		if t := b.receiver(bufs[0], ep); t != nil {
			t.mu.Lock()
			t.responded, t.works = b.now(), addrOf(ep)
			t.mu.Unlock()
		}
	}
	return b.Bind.Send(bufs, ep)
}

// initiate sends an initiation to ep, if the peer has one, and to all candidates.
func (b *bind) initiate(t *target, msg []byte, ep conn.Endpoint) error {
	if ep == conn.Endpoint(t) {
		b.remember(t, msg, nil)
		return b.spray(t, [][]byte{msg}, "")
	}
	b.remember(t, msg, ep)
	err := b.Bind.Send([][]byte{msg}, ep)
	if b.spray(t, [][]byte{msg}, ep.DstToString()) == nil {
		err = nil
	}
	return err
}

// spray sends to every candidate but one. It succeeds when one of them could be sent to.
func (b *bind) spray(t *target, bufs [][]byte, but string) error {
	t.mu.Lock()
	eps := t.candidates
	t.mu.Unlock()
	err := errNoEndpoint
	sent := false
	for _, ep := range eps {
		if ep.DstToString() == but {
			continue
		}
		if e := b.Bind.Send(bufs, ep); e != nil {
			err = e
		} else {
			sent = true
		}
	}
	if sent {
		return nil
	}
	return err
}

// isInitiation knows a handshake initiation (whitepaper section 5.4.2) by type and size.
func isInitiation(bufs [][]byte) bool {
	return len(bufs) == 1 && len(bufs[0]) == device.MessageInitiationSize && bufs[0][0] == device.MessageInitiationType
}

// receiver finds the peer that a handshake message is for: its mac1 is keyed with the receiver's public key.
func (b *bind) receiver(msg []byte, ep conn.Endpoint) *target {
	addr := addrOf(ep)
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, there := range []bool{true, false} { // most often the one who is at that address
		for _, t := range b.targets {
			if t.isAt(addr) == there && hasMAC1(msg, &t.mac1) {
				return t
			}
		}
	}
	return nil
}

// addrOf is the address of an endpoint of the system's; the zero value of none.
func addrOf(ep conn.Endpoint) netip.AddrPort {
	a, _ := netip.ParseAddrPort(ep.DstToString())
	return a
}

// mac1Key keys the mac1 of handshake messages to the holder of a key (whitepaper section 5.4.4).
func mac1Key(key device.NoisePublicKey) (sum [blake2s.Size]byte) {
	h, _ := blake2s.New256(nil)
	h.Write([]byte(device.WGLabelMAC1))
	h.Write(key[:])
	h.Sum(sum[:0])
	return sum
}

// hasMAC1 reports whether a handshake message was made for the holder of a key.
func hasMAC1(msg []byte, key *[blake2s.Size]byte) bool {
	at := len(msg) - 2*blake2s.Size128
	h, _ := blake2s.New128(key[:])
	h.Write(msg[:at])
	var sum [blake2s.Size128]byte
	return subtle.ConstantTimeCompare(h.Sum(sum[:0]), msg[at:at+blake2s.Size128]) == 1
}

// holdsBack keeps an initiation from being sent while WireGuard may have the peer's in hand. It is sent after all if no
// response to that is.
func (b *bind) holdsBack(t *target, msg []byte, ep conn.Endpoint) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	letIn := t.letIn
	if b.now().Sub(letIn) >= inHand || t.responded.After(letIn) {
		return false
	}
	msg = bytes.Clone(msg)
	if t.kept != nil {
		t.kept.Stop()
	}
	t.kept = time.AfterFunc(repeatAfter, func() {
		t.mu.Lock()
		moot := t.responded.After(letIn) || t.sent.After(letIn)
		t.mu.Unlock()
		if !moot {
			_ = b.initiate(t, msg, ep)
		}
	})
	return true
}

// remember keeps an initiation that is being sent, and sends it again when it is not answered soon.
func (b *bind) remember(t *target, msg []byte, ep conn.Endpoint) {
	t.mu.Lock()
	defer t.mu.Unlock()
	msg = bytes.Clone(msg)
	t.initiation, t.sent = msg, b.now()
	if ep != nil {
		t.works = addrOf(ep)
	}
	t.stopRepeat()
	t.repeat = time.AfterFunc(repeatAfter, func() {
		t.mu.Lock()
		still := len(t.initiation) > 0 && &t.initiation[0] == &msg[0]
		t.mu.Unlock()
		if !still {
			return
		}
		but := ""
		if ep != nil {
			but = ep.DstToString()
			_ = b.Bind.Send([][]byte{msg}, ep)
		}
		_ = b.spray(t, [][]byte{msg}, but)
	})
	if b.crossed != nil {
		if t.anew != nil {
			t.anew.Stop()
		}
		sent := t.sent
		t.anew = time.AfterFunc(anewAfter, func() {
			t.mu.Lock()
			// An answer on the wire says little: WireGuard may have dropped it for what it took in between.
			spoilt := t.sent.Equal(sent) && t.heard.Add(repeatAfter).After(sent)
			t.mu.Unlock()
			if spoilt {
				b.crossed(t.key)
			}
		})
	}
}

// hears notes an initiation that came from addr, if it is one of the peer's, and tells when it is refused.
func (t *target) hears(addr netip.AddrPort, now time.Time, refused func(device.NoisePublicKey)) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Contains(t.addrs, addr) && t.works != addr {
		return false
	}
	t.heard = now
	if refused == nil || now.Sub(t.calledBack) < callBackEvery {
		return true
	}
	if t.refusal != nil {
		t.refusal.Stop()
	}
	t.refusal = time.AfterFunc(responseWithin, func() {
		t.mu.Lock()
		silent := t.heard.Equal(now) && now.Sub(t.responded) > responseWithin
		t.mu.Unlock()
		if !silent {
			return
		}
		refused(t.key)
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.sent.After(now) { // WireGuard may not have been ready for another one yet
			t.calledBack = now
		}
	})
	return true
}

func (t *target) stopRepeat() {
	if t.repeat != nil {
		t.repeat.Stop()
	}
}

func (t *target) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.initiation = nil
	t.stopRepeat()
	for _, timer := range []*time.Timer{t.anew, t.refusal, t.kept} {
		if timer != nil {
			timer.Stop()
		}
	}
}

// answered forgets the initiation that this response is for, if it is the peer's.
func (t *target) answered(index []byte, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.initiation != nil && bytes.Equal(t.initiation[4:8], index) {
		t.initiation = nil
		t.stopRepeat()
		t.answeredAt = now
		t.calledBack = time.Time{}
	}
}

// isAt reports whether the peer may be reached at addr.
func (t *target) isAt(addr netip.AddrPort) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.works == addr || slices.Contains(t.addrs, addr)
}

// takes says whether WireGuard should not see an initiation of the peer's, and which own one to send in its place, if any.
// wins: ours counts when they cross.
func (t *target) takes(index [4]byte, wins bool, now time.Time) (hide bool, own []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.answeredAt) < inHand {
		return true, nil
	}
	if wins && t.initiation != nil && now.Sub(t.sent) < device.RekeyTimeout {
		if t.passedOver != index {
			t.passedOver, t.passedAt = index, now
			return true, t.initiation
		}
		if now.Sub(t.passedAt) < inHand { // it came by several ways
			return true, nil
		}
		// The peer insists: ours may be lost.
	}
	t.letIn = now
	return false, nil
}

// target is a conn.Endpoint until the peer answers.
func (t *target) ClearSrc()           {}
func (t *target) SrcToString() string { return "" }
func (t *target) DstToString() string { return "peer:" + hex.EncodeToString(t.key[:]) }
func (t *target) DstToBytes() []byte  { return t.key[:] }
func (t *target) DstIP() netip.Addr   { return netip.Addr{} }
func (t *target) SrcIP() netip.Addr   { return netip.Addr{} }
