// Package jws reads compact JWS (RFC 7515 §7.1) and the JSON objects inside strictly, before anything else looks
// at them.
//
// encoding/json takes the last of "sub" and "sub", and "SUB" for "sub", so two programs can read two different
// people out of one token. Here an object that has two names alike, or a known name in other letters, is refused
// (RFC 8725 §2.7, RFC 7519 §4), and values are found by their exact names only.
package jws

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	maxDepth   = 16  // of nested values; Keycloak's resource_access has 3
	maxMembers = 256 // of one object
)

// Object is a JSON object whose names are all different, also when upper and lower case are the same.
type Object map[string]json.RawMessage

// ParseObject reads one JSON object. Known are the names that the caller will ask for: none of them may stand
// in the object in other letters.
func ParseObject(data []byte, known []string) (Object, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("it is not UTF-8")
	}
	if !json.Valid(data) {
		return nil, errors.New("it is not JSON")
	}
	// From here the syntax is known to be right.
	s := scanner{data: data}
	s.space()
	if s.peek() != '{' {
		return nil, errors.New("it is not a JSON object")
	}
	o := make(Object)
	if err := s.object(1, o); err != nil {
		return nil, err
	}
	exact := make(map[string]string, len(known))
	for _, k := range known {
		exact[fold(k)] = k
	}
	folded := make(map[string]bool, len(o))
	for name := range o {
		f := fold(name)
		if folded[f] {
			return nil, fmt.Errorf("it has the name %q twice, in upper and lower case", name)
		}
		folded[f] = true
		if k, ok := exact[f]; ok && k != name {
			return nil, fmt.Errorf("it has the name %q for %q", name, k)
		}
	}
	return o, nil
}

// fold maps names to one form that encoding/json takes for each other (Unicode simple folding).
func fold(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= utf8.RuneSelf || 'A' <= c && c <= 'Z' {
			return strings.Map(foldRune, s)
		}
	}
	return s
}

func foldRune(r rune) rune {
	low := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		low = min(low, f)
	}
	if 'A' <= low && low <= 'Z' {
		low += 'a' - 'A'
	}
	return low
}

// scanner walks over JSON that json.Valid accepted; i never passes the end of a valid document.
type scanner struct {
	data []byte
	i    int
}

func (s *scanner) peek() byte {
	if s.i < len(s.data) {
		return s.data[s.i]
	}
	return 0
}

func (s *scanner) space() {
	for s.i < len(s.data) {
		switch s.data[s.i] {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return
		}
	}
}

// object reads an object into o.
func (s *scanner) object(depth int, o Object) error {
	if depth > maxDepth {
		return errors.New("it is nested too deep")
	}
	s.i++ // {
	for s.space(); s.peek() != '}'; s.space() {
		if s.peek() == ',' {
			s.i++
			s.space()
		}
		name, err := s.name()
		if err != nil {
			return err
		}
		s.space()
		s.i++ // :
		s.space()
		start := s.i
		if err := s.value(depth); err != nil {
			return err
		}
		if _, twice := o[name]; twice {
			return fmt.Errorf("it has the name %q twice", name)
		}
		if len(o) == maxMembers {
			return fmt.Errorf("it has more than %d names", maxMembers)
		}
		o[name] = json.RawMessage(s.data[start:s.i])
	}
	s.i++ // }
	return nil
}

// value skips a value, looking into objects for names that stand there twice.
func (s *scanner) value(depth int) error {
	switch s.peek() {
	case '{':
		return s.object(depth+1, make(Object))
	case '[':
		if depth+1 > maxDepth {
			return errors.New("it is nested too deep")
		}
		s.i++
		for s.space(); s.peek() != ']'; s.space() {
			if s.peek() == ',' {
				s.i++
				s.space()
			}
			if err := s.value(depth + 1); err != nil {
				return err
			}
		}
		s.i++
	case '"':
		s.str()
	default: // a number, true, false or null
		start := s.i
		for s.i < len(s.data) && !strings.ContainsRune(" \t\r\n,]}", rune(s.data[s.i])) {
			s.i++
		}
		if c := s.data[start]; c == '-' || '0' <= c && c <= '9' {
			// One that others would refuse, or take for infinite (RFC 7493 §2.2).
			if _, err := strconv.ParseFloat(string(s.data[start:s.i]), 64); err != nil {
				return errors.New("it has a number that is too large")
			}
		}
	}
	return nil
}

// str skips a string and returns it with its quotes.
func (s *scanner) str() []byte {
	start := s.i
	for s.i++; s.i < len(s.data) && s.data[s.i] != '"'; s.i++ {
		if s.data[s.i] == '\\' {
			s.i++
		}
	}
	s.i = min(s.i+1, len(s.data))
	return s.data[start:s.i]
}

func (s *scanner) name() (string, error) { return decode(s.str()) }

func decode(quoted []byte) (string, error) {
	for _, c := range quoted {
		if c == '\\' {
			var v string
			err := json.Unmarshal(quoted, &v)
			return v, err
		}
	}
	return string(quoted[1 : len(quoted)-1]), nil
}

// Has reports whether name is there, whatever its value.
func (o Object) Has(name string) bool {
	_, ok := o[name]
	return ok
}

// String returns a string member; "" when it is absent.
func (o Object) String(name string) (string, error) {
	raw, ok := o[name]
	if !ok {
		return "", nil
	}
	if raw[0] != '"' {
		return "", fmt.Errorf("%q is not a string", name)
	}
	return decode(raw)
}

// Strings returns a member that is an array of strings, or one string (RFC 7519 §4.1.3); nil when it is absent.
func (o Object) Strings(name string) ([]string, error) {
	raw, ok := o[name]
	if !ok {
		return nil, nil
	}
	if raw[0] == '"' {
		v, err := decode(raw)
		return []string{v}, err
	}
	var many []*string
	if raw[0] != '[' || json.Unmarshal(raw, &many) != nil {
		return nil, fmt.Errorf("%q is not an array of strings", name)
	}
	v := make([]string, len(many))
	for i, s := range many {
		if s == nil {
			return nil, fmt.Errorf("%q is not an array of strings", name)
		}
		v[i] = *s
	}
	return v, nil
}

// Bool returns a boolean member; false when it is absent. The strings "true" and "false" count (some providers
// write email_verified so).
func (o Object) Bool(name string) (bool, error) {
	switch string(o[name]) {
	case "", "false", `"false"`:
		return false, nil
	case "true", `"true"`:
		return true, nil
	}
	return false, fmt.Errorf("%q is not true or false", name)
}

// Time returns a NumericDate member (RFC 7519 §2: seconds since 1970, maybe with a fraction); zero when absent.
func (o Object) Time(name string) (time.Time, error) {
	raw, ok := o[name]
	if !ok {
		return time.Time{}, nil
	}
	const year10000 = 253402300800
	v, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || v < 0 || v >= year10000 {
		return time.Time{}, fmt.Errorf("%q is not a time", name)
	}
	sec, frac := math.Modf(v)
	return time.Unix(int64(sec), int64(frac*1e9)), nil
}
