// Package fresh reads and writes the one line beside a certificate that says how long it is good. Every ssh
// command reads it, before the program that does is fully started, so this package imports next to nothing: no fmt.
package fresh

import (
	"errors"
	"strconv"
	"time"
)

// Line is what a .fresh file says. Its times are of this machine's clock, which need not agree with the provider's.
type Line struct {
	RefreshAfter time.Time // the newest token has less than half of its time left
	Ends         time.Time // the login's lifetime is over
	Issued       time.Time // when the newest token came
	// Account is whom a machine certificate is for; empty beside a login's.
	Account string
}

// version begins a line; size bounds a file, a longer one is not ours.
const (
	version = "v1"
	size    = 256
)

var errFormat = errors.New("it is not a line of this version")

// Read reads a .fresh file, which must belong to this user: another one's says nothing about what ssh will offer.
func Read(name string) (Line, error) {
	buf := make([]byte, size)
	n, err := read(name, buf)
	if err != nil {
		return Line{}, err
	}
	return Parse(string(buf[:n]))
}

// Parse reads "v1 <refresh after> <login ends> <issued>[ <account>]\n", times in Unix seconds.
func Parse(s string) (Line, error) {
	word, s := cut(s)
	if word != version {
		return Line{}, errFormat
	}
	var at [3]time.Time
	for i := range at {
		word, s = cut(s)
		sec, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return Line{}, errFormat
		}
		at[i] = time.Unix(sec, 0)
	}
	account, _ := cut(s)
	return Line{RefreshAfter: at[0], Ends: at[1], Issued: at[2], Account: account}, nil
}

// cut takes the first word, up to a blank or the line's end.
func cut(s string) (word, rest string) {
	for i := range len(s) {
		if s[i] == ' ' || s[i] == '\n' {
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// String is the file's content.
func (l Line) String() string {
	b := []byte(version)
	for _, t := range []time.Time{l.RefreshAfter, l.Ends, l.Issued} {
		b = strconv.AppendInt(append(b, ' '), t.Unix(), 10)
	}
	if l.Account != "" {
		b = append(append(b, ' '), l.Account...)
	}
	return string(append(b, '\n'))
}

// Good reports whether the certificate may be offered as it is: the newest token has time left, and is not older
// than half of maxAge, where a machine wants younger ones (0: it does not).
func (l Line) Good(now time.Time, maxAge time.Duration) bool {
	if maxAge > 0 && now.Sub(l.Issued) >= maxAge/2 {
		return false
	}
	// A line from the future was written before the clock was set back: its times mean nothing.
	return now.Before(l.RefreshAfter) && now.Before(l.Ends) && now.After(l.Issued.Add(-time.Minute))
}

// For reports whether the certificate is for one of accounts, names with commas between.
func (l Line) For(accounts string) bool {
	for l.Account != "" && accounts != "" {
		end := 0
		for end < len(accounts) && accounts[end] != ',' {
			end++
		}
		if accounts[:end] == l.Account {
			return true
		}
		if end == len(accounts) {
			break
		}
		accounts = accounts[end+1:]
	}
	return false
}
