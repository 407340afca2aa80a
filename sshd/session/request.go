package session

import (
	"encoding/binary"
	"errors"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"lanyard/platform/pty"
)

// Limits on what a client sends. OpenSSH's client stays far below.
const (
	maxCommand  = 256 << 10 // bytes; Linux itself takes 128 kB per argument
	maxTerm     = 64
	maxVarName  = 64
	maxVarValue = 8 << 10
	maxVars     = 128
	maxModes    = 256
)

var (
	errPayload = errors.New("the request cannot be read")
	errTooLong = errors.New("the request is too long")
)

// ptyRequest is "pty-req" (RFC 4254 §6.2).
type ptyRequest struct {
	Term  string
	Size  pty.Size
	Modes []pty.Mode
}

var termRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*$`)

func parsePTY(payload []byte) (ptyRequest, error) {
	var m struct {
		Term                      string
		Cols, Rows, Width, Height uint32
		Modes                     string
	}
	if ssh.Unmarshal(payload, &m) != nil {
		return ptyRequest{}, errPayload
	}
	if len(m.Term) > maxTerm {
		return ptyRequest{}, errTooLong
	}
	if !termRE.MatchString(m.Term) {
		m.Term = "dumb" // it becomes part of a path in terminfo
	}
	modes, err := parseModes([]byte(m.Modes))
	return ptyRequest{m.Term, pty.Size{Cols: m.Cols, Rows: m.Rows, Width: m.Width, Height: m.Height}, modes}, err
}

// parseModes reads encoded terminal modes (RFC 4254 §8): opcodes 1 to 159 with a uint32 each; 0 ends the list,
// and so does an opcode from 160, whose argument is not known.
func parseModes(b []byte) ([]pty.Mode, error) {
	var modes []pty.Mode
	for len(b) > 0 && b[0] != 0 && b[0] < 160 {
		if len(b) < 5 {
			return nil, errPayload
		}
		if len(modes) == maxModes {
			return nil, errTooLong
		}
		modes = append(modes, pty.Mode{Op: b[0], Value: binary.BigEndian.Uint32(b[1:])})
		b = b[5:]
	}
	return modes, nil
}

// parseSize is "window-change" (RFC 4254 §6.7).
func parseSize(payload []byte) (pty.Size, error) {
	var s pty.Size
	if ssh.Unmarshal(payload, &s) != nil {
		return pty.Size{}, errPayload
	}
	return s, nil
}

// parseEnv is "env" (RFC 4254 §6.4).
func parseEnv(payload []byte) (name, value string, err error) {
	var m struct{ Name, Value string }
	if ssh.Unmarshal(payload, &m) != nil {
		return "", "", errPayload
	}
	if len(m.Name) > maxVarName || len(m.Value) > maxVarValue {
		return "", "", errTooLong
	}
	return m.Name, m.Value, nil
}

// parseString is the payload of "exec", "subsystem" and "signal" (RFC 4254 §6.5, §6.9).
func parseString(payload []byte, limit int) (string, error) {
	var m struct{ S string }
	if ssh.Unmarshal(payload, &m) != nil || strings.Contains(m.S, "\x00") {
		return "", errPayload
	}
	if len(m.S) > limit {
		return "", errTooLong
	}
	return m.S, nil
}

// taken lists the variables that a client may set. None of them makes a shell or the dynamic linker do anything.
var taken = []string{"LANG", "LANGUAGE", "COLORTERM", "TERM_PROGRAM", "TERM_PROGRAM_VERSION", "NO_COLOR", "COLORFGBG", "GIT_PROTOCOL", "TZ"}

var localeRE = regexp.MustCompile(`^LC_[A-Z_]+$`)

// acceptEnv reports whether the client may set this.
func acceptEnv(name, value string) bool {
	if strings.ContainsAny(value, "\x00\n\r") {
		return false
	}
	if name == "TZ" {
		// A path would be opened by every program, with its rights.
		return !strings.HasPrefix(strings.TrimPrefix(value, ":"), "/") && !strings.Contains(value, "..")
	}
	if localeRE.MatchString(name) || name == "LANG" || name == "LANGUAGE" {
		return !strings.Contains(value, "/") // the same for locales
	}
	return slices.Contains(taken, name)
}
