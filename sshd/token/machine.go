package token

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
)

// A machine certificate says that a key belongs to a local account of a machine (Ansible, CI: nobody is signed in).
// The machine's daemon, which the kernel told who asks, makes it with the machine key, and a server peer takes it
// from a connection of that very machine only. It carries one extension,
//
//	machine@lanyard = "v1 " PEER-ID " " UID-OR-SID " " ACCOUNT
//
// and nothing else that could say anything: no principals, no critical options, no permit-*. Its times count.
const (
	ExtMachine      = "machine@lanyard"
	MachineLifetime = 5 * time.Minute
)

const machineVersion = "v1"

// Machine is what a machine certificate says.
type Machine struct {
	Peer      string // id of the machine that signed
	Account   string // local account there
	AccountID string // its uid or SID
	Expires   time.Time
}

// MintMachine makes a certificate for key, in whose possession the account m is, signed by the machine key.
func MintMachine(machineKey ed25519.PrivateKey, key ssh.PublicKey, m Machine, now time.Time) (*ssh.Certificate, error) {
	text := m.text()
	said, err := parseMachine(text)
	if err == nil && (said.Peer != m.Peer || said.Account != m.Account || said.AccountID != m.AccountID) {
		err = errors.New("it would say something else")
	}
	if err != nil {
		return nil, fmt.Errorf("make a machine certificate for the account %q (%s): %w", m.Account, m.AccountID, err)
	}
	if key.Type() != ssh.KeyAlgoED25519 {
		return nil, fmt.Errorf("make a machine certificate: the key is of type %s, not an ed25519 key", key.Type())
	}
	if len(machineKey) != ed25519.PrivateKeySize {
		return nil, errors.New("make a machine certificate: the machine key is no ed25519 key")
	}
	signer, err := ssh.NewSignerFromKey(machineKey)
	if err != nil {
		return nil, fmt.Errorf("make a machine certificate: %w", err)
	}
	c := &ssh.Certificate{
		Key: key, CertType: ssh.UserCert, KeyId: "lanyard machine",
		ValidAfter: uint64(now.Unix()), ValidBefore: uint64(now.Add(MachineLifetime).Unix()),
		Permissions: ssh.Permissions{Extensions: map[string]string{ExtMachine: text}},
	}
	if err := c.SignCert(rand.Reader, signer); err != nil {
		return nil, fmt.Errorf("sign the machine certificate: %w", err)
	}
	return c, nil
}

// IsMachine reports whether c claims to be a machine certificate.
func IsMachine(c *ssh.Certificate) bool {
	_, ok := c.Extensions[ExtMachine]
	return ok
}

// VerifyMachine checks a machine certificate from a connection of source, the peer as the map in force shows it.
// Whether the client has the key is the SSH handshake's question.
func (t *Trust) VerifyMachine(c *ssh.Certificate, source api.Peer, now time.Time) (*Machine, error) {
	switch {
	case c == nil || !IsMachine(c):
		return nil, reason.Errorf(reason.TokenMissing, "the key is without a machine's word")
	case c.Key == nil || c.Key.Type() != ssh.KeyAlgoED25519:
		return nil, malformed("the certificate is not for an ed25519 key")
	case c.CertType != ssh.UserCert:
		return nil, malformed("the certificate is not a user certificate")
	case len(c.CriticalOptions) != 0:
		return nil, malformed("the certificate has critical options")
	case len(c.Extensions) != 1 || len(c.ValidPrincipals) != 0:
		return nil, malformed("the machine certificate says more than it may")
	}
	m, err := parseMachine(c.Extensions[ExtMachine])
	if err != nil {
		return nil, malformed("the machine certificate: %v", err)
	}
	// Its own signer first: whom it names counts only when that machine has said so.
	if c.SignatureKey == nil || len(source.MachineKey) != ed25519.PublicKeySize ||
		!bytes.Equal(c.SignatureKey.Marshal(), wireMachineKey(source.MachineKey)) {
		return nil, reason.Errorf(reason.OtherMachine, "the certificate is not signed by %q", source.Name)
	}
	if c.Signature == nil || c.SignatureKey.Verify(signedBytes(c), c.Signature) != nil {
		return nil, malformed("the machine's signature is wrong")
	}
	if m.Peer != source.ID {
		return nil, reason.Errorf(reason.OtherMachine, "the certificate names the machine %s", m.Peer)
	}
	if now.Before(t.MapTime) {
		now = t.MapTime
	}
	if err := m.checkTimes(c, now); err != nil {
		return nil, err
	}
	return m, nil
}

// wireMachineKey is an ed25519 key in SSH wire form (RFC 8709 §4).
func wireMachineKey(k ed25519.PublicKey) []byte {
	pub, err := ssh.NewPublicKey(k)
	if err != nil {
		return nil // its length was checked
	}
	return pub.Marshal()
}

func (m *Machine) checkTimes(c *ssh.Certificate, now time.Time) error {
	life := uint64(MachineLifetime / time.Second)
	if c.ValidBefore > math.MaxInt64 || c.ValidAfter >= c.ValidBefore || c.ValidBefore-c.ValidAfter > life {
		return malformed("the machine certificate is valid for longer than %v", MachineLifetime)
	}
	begins := time.Unix(int64(c.ValidAfter), 0)
	m.Expires = time.Unix(int64(c.ValidBefore), 0)
	if begins.After(now.Add(Leeway)) {
		return reason.Errorf(reason.ClockSkew, "the machine certificate begins at %s, now %s",
			begins.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	if !now.Before(m.Expires.Add(Leeway)) {
		return reason.Errorf(reason.MachineExpired, "the machine certificate expired at %s", m.Expires.UTC().Format(time.RFC3339))
	}
	return nil
}

func (m *Machine) text() string {
	return machineVersion + " " + m.Peer + " " + m.AccountID + " " + m.Account
}

// parseMachine reads the extension. There is one way to write each machine and account.
func parseMachine(s string) (*Machine, error) {
	version, rest, _ := strings.Cut(s, " ")
	peer, rest, _ := strings.Cut(rest, " ")
	id, account, ok := strings.Cut(rest, " ")
	m := &Machine{Peer: peer, AccountID: id, Account: account}
	switch {
	case !ok || version != machineVersion:
		return nil, errors.New("it is not of a version that is known here")
	case !isPeerID(peer):
		return nil, fmt.Errorf("%q is no id of a machine", peer)
	case !isAccountID(id):
		return nil, fmt.Errorf("%q is no id of an account", id)
	case !isAccount(account):
		return nil, fmt.Errorf("%q is no name of an account", account)
	case (id == "0") != (account == "root") && !strings.HasPrefix(id, "S-"):
		return nil, errors.New("uid 0 is root and nobody else")
	}
	return m, nil
}

func isPeerID(s string) bool {
	return len(s) >= 2 && len(s) <= 33 && s[0] == 'p' && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
}

// isAccountID knows uids, of 32 bits and without the one that means "nobody in particular" ((uid_t)-1), and SIDs.
func isAccountID(s string) bool {
	if sid, ok := strings.CutPrefix(s, "S-1-"); ok {
		return len(s) <= 184 && sid != "" && !strings.ContainsFunc(sid, func(r rune) bool { return r != '-' && (r < '0' || r > '9') })
	}
	n, err := strconv.ParseUint(s, 10, 32)
	return err == nil && n != math.MaxUint32 && s == strconv.FormatUint(n, 10)
}

// isAccount refuses what no rule can name, above all numbers (mgmt/policy has the same words for rules).
func isAccount(s string) bool {
	if s == "" || len(s) > 256 || !utf8.ValidString(s) || s != strings.TrimSpace(s) || strings.ContainsAny(s, "/:*") || strings.ContainsAny(s[:1], "+-") {
		return false
	}
	_, err := strconv.ParseUint(s, 0, 64)
	return err != nil && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) && r != ' ' })
}
