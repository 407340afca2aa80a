package sftp

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

// Op says what was done with a file. The names stand in the audit log.
type Op string

// Operations.
const (
	OpOpen     Op = "open"
	OpClose    Op = "close"
	OpRemove   Op = "remove"
	OpRmdir    Op = "rmdir"
	OpMkdir    Op = "mkdir"
	OpRename   Op = "rename"
	OpLink     Op = "link"
	OpSymlink  Op = "symlink"
	OpTruncate Op = "truncate"
	OpMode     Op = "mode"
	OpOwner    Op = "owner"
	OpRefused  Op = "refused" // outside of what the rule grants
)

// Event is what the server tells the daemon of one operation, a JSON line on standard error. Names are made valid
// text: what is not UTF-8 in them shows as \xNN.
type Event struct {
	Op    Op     `json:"op"`
	Path  string `json:"path"`
	To    string `json:"to,omitempty"`
	Read  bool   `json:"read,omitempty"`
	Write bool   `json:"write,omitempty"`
	In    int64  `json:"in,omitempty"`  // bytes written to the file
	Out   int64  `json:"out,omitempty"` // bytes read from it
}

// events collects lines until the replies that they belong to are sent.
type events struct {
	to  io.Writer
	buf []byte
}

const (
	maxName   = 4 << 10  // bytes of a name in an event; longer ones are cut
	maxLine   = 64 << 10 // of a line that the daemon reads
	maxEvents = 32 << 10 // bytes that are collected
)

func (e *events) add(v Event) {
	v.Path, v.To = plain(v.Path), plain(v.To)
	b, err := json.Marshal(v)
	if err != nil {
		return // cannot be: it has nothing but text and numbers
	}
	e.buf = append(append(e.buf, b...), '\n')
	if len(e.buf) >= maxEvents {
		e.flush()
	}
}

func (e *events) flush() {
	if len(e.buf) > 0 {
		_, _ = e.to.Write(e.buf) // without the daemon the replies go nowhere either
		e.buf = e.buf[:0]
	}
}

// plain is a name as text.
func plain(s string) string {
	if len(s) > maxName {
		s = s[:maxName] + "…"
	}
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			const hex = "0123456789abcdef"
			b.WriteString(`\x`)
			b.WriteByte(hex[s[0]>>4])
			b.WriteByte(hex[s[0]&15])
		} else {
			b.WriteRune(r)
		}
		s = s[n:]
	}
	return b.String()
}

// ReadEvents reads what the server tells until it ends. Lines that are no events are for the person: why no files are
// served. The daemon trusts neither: the server runs as the account.
func ReadEvents(r io.Reader, event func(Event), text io.Writer) error {
	in := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			if e, ok := parseEvent(line); ok {
				event(e)
			} else if _, werr := text.Write(line); werr != nil && err == nil {
				// The person is gone; events still count.
				text = io.Discard
			}
		}
		switch {
		case err == nil, errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return nil
		default:
			return err
		}
	}
}

func parseEvent(line []byte) (e Event, ok bool) {
	if line[0] != '{' || json.Unmarshal(line, &e) != nil {
		return Event{}, false
	}
	switch e.Op {
	case OpOpen, OpClose, OpRemove, OpRmdir, OpMkdir, OpRename, OpLink, OpSymlink, OpTruncate, OpMode, OpOwner, OpRefused:
	default:
		return Event{}, false
	}
	if e.In < 0 || e.Out < 0 {
		return Event{}, false
	}
	e.Path, e.To = plain(e.Path), plain(e.To)
	return e, true
}
