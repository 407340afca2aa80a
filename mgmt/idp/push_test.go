package idp

import (
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/sshd/token"
)

// A key and salt of another day would let a token of that day pass for a new sign-in's.
func TestSignInBeginsNow(t *testing.T) {
	b := open(t)
	s := b.begin()
	for name, at := range map[string]time.Duration{"now": 0, "tomorrow": 24 * time.Hour, "yesterday": -24 * time.Hour} {
		key, salt, err := token.NewKey(time.Now().Add(at))
		if err != nil {
			t.Fatal(err)
		}
		wire, err := ssh.NewPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		start := s.start
		start.Key, start.Salt = wire.Marshal(), salt
		if _, err := b.Push(t.Context(), start, &b.peer); (err == nil) != (at == 0) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
