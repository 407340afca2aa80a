package jws

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Message is a compact JWS, taken apart and not verified.
type Message struct {
	Header, Claims Object
	Input          string // what the signature is over (RFC 7515 §5.1)
	Signature      []byte
}

// Header names that JWS and JWT know (RFC 7515 §4.1, RFC 7797).
var headerNames = []string{
	"alg", "b64", "crit", "cty", "jku", "jwk", "kid", "typ", "x5c", "x5t", "x5t#S256", "x5u",
}

// Parse takes a compact JWS apart whose payload is a JSON object. It refuses one longer than limit bytes, and one
// in which a claim of known stands in other letters.
func Parse(raw string, limit int, known []string) (*Message, error) {
	if len(raw) > limit {
		return nil, fmt.Errorf("it is longer than %d bytes", limit)
	}
	head, rest, ok1 := strings.Cut(raw, ".")
	body, sig, ok2 := strings.Cut(rest, ".")
	if !ok1 || !ok2 || strings.Contains(sig, ".") {
		return nil, errors.New("it has not three parts")
	}
	h, err := decodePart(head)
	if err != nil {
		return nil, fmt.Errorf("its header: %w", err)
	}
	c, err := decodePart(body)
	if err != nil {
		return nil, fmt.Errorf("its claims: %w", err)
	}
	m := &Message{Input: raw[:len(head)+1+len(body)]}
	if m.Signature, err = decodePart(sig); err != nil {
		return nil, fmt.Errorf("its signature: %w", err)
	}
	if m.Header, err = ParseObject(h, headerNames); err != nil {
		return nil, fmt.Errorf("its header: %w", err)
	}
	if m.Claims, err = ParseObject(c, known); err != nil {
		return nil, fmt.Errorf("its claims: %w", err)
	}
	return m, nil
}

// strict refuses set bits after the end: one text for one value.
var strict = base64.RawURLEncoding.Strict()

func decodePart(s string) ([]byte, error) {
	// encoding/base64 skips line ends.
	if strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("it is not base64url")
	}
	b, err := strict.DecodeString(s)
	if err != nil {
		return nil, errors.New("it is not base64url")
	}
	return b, nil
}
