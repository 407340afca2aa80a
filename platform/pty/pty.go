// Package pty opens pseudo-terminals as an SSH server needs them: with a size, with the terminal modes that the
// client asked for (RFC 4254 §8), owned by the user who will work in them.
package pty

// Size of a terminal: in characters, and in pixels where known.
type Size struct{ Cols, Rows, Width, Height uint32 }

// Mode is one encoded terminal mode (RFC 4254 §8): an opcode and its argument.
type Mode struct {
	Op    byte
	Value uint32
}

// clamp makes a uint16 of what a stranger sent.
func clamp(n uint32) uint16 {
	if n > 0xffff {
		return 0xffff
	}
	return uint16(n)
}
