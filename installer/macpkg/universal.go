package macpkg

import (
	"bytes"
	"debug/macho"
	"fmt"
	"slices"
)

const (
	fatMagic = 0xcafebabe
	fatAlign = 14 // 2^14 bytes, a page of arm64
)

// Universal joins programs for several processors into one (Mach-O, "fat"). Each keeps its own signature.
func Universal(programs ...[]byte) ([]byte, error) {
	type part struct {
		cpu, sub uint32
		at       int
		data     []byte
	}
	var parts []part
	for _, p := range programs {
		f, err := macho.NewFile(bytes.NewReader(p))
		if err != nil {
			return nil, fmt.Errorf("join programs: %w", err)
		}
		if slices.ContainsFunc(parts, func(x part) bool { return x.cpu == uint32(f.Cpu) }) {
			return nil, fmt.Errorf("join programs: two are for %s", f.Cpu)
		}
		parts = append(parts, part{cpu: uint32(f.Cpu), sub: f.SubCpu, data: p})
	}
	out := words(uint32(fatMagic), uint32(len(parts)))
	at := len(out) + 20*len(parts)
	for i := range parts {
		at = (at + 1<<fatAlign - 1) &^ (1<<fatAlign - 1)
		parts[i].at = at
		at += len(parts[i].data)
		out = append(out, words(parts[i].cpu, parts[i].sub, uint32(parts[i].at), uint32(len(parts[i].data)), uint32(fatAlign))...)
	}
	for _, p := range parts {
		out = pad(out, p.at)
		out = append(out, p.data...)
	}
	return out, nil
}
