package macpkg

import (
	"bytes"
	"path"
	"slices"
	"strings"
	"time"
)

// A bill of materials is a store of numbered blocks. Named variables point to trees: "Paths" holds a row for each file,
// with keys (number of the folder, name) in rising order.
const (
	bomHeader    = 512 // bytes before the first block
	bomPerLeaf   = 256 // rows
	bomLeaf      = 4096
	bomFile      = 1
	bomDir       = 2
	bomLink      = 3
	bomAnyArch   = 3 // what mkbom writes for a file of no particular processor
	bomPathIsKey = 1
)

type bomStore struct{ blocks [][]byte } // the first is the empty one

func (s *bomStore) add(b []byte) uint32 {
	s.blocks = append(s.blocks, b)
	return uint32(len(s.blocks) - 1)
}

// empty is a leaf without rows.
func (s *bomStore) empty(size int) uint32 {
	return s.add(pad(words(uint16(1), uint16(0), uint32(0), uint32(0)), size))
}

func (s *bomStore) tree(child, blockSize, rows uint32) uint32 {
	return s.add(words([]byte("tree"), uint32(1), child, blockSize, rows, uint8(0)))
}

// row is one of Paths.
type row struct {
	info, key uint32 // blocks
	folder    uint32
	name      string
}

func bom(all []node, when time.Time) []byte {
	s := &bomStore{blocks: [][]byte{nil}}
	paths := s.paths(s.rows(all, when))
	type variable struct {
		name  string
		block uint32
	}
	vars := []variable{
		{"BomInfo", s.add(words(uint32(1), uint32(len(all)+1), uint32(1), uint32(0), uint32(0), uint32(0), uint32(0)))},
		{"Paths", paths},
		{"HLIndex", s.tree(s.empty(bomLeaf), bomLeaf, 0)},
	}
	vindex := s.tree(s.empty(128), 128, 0)
	vars = append(vars,
		variable{"VIndex", s.add(words(uint32(1), vindex, uint32(0), uint8(0)))},
		variable{"Size64", s.tree(s.empty(bomLeaf), bomLeaf, 0)})
	named := words(uint32(len(vars)))
	for _, v := range vars {
		named = append(named, words(v.block, uint8(len(v.name)), []byte(v.name))...)
	}
	var data []byte
	index := words(uint32(len(s.blocks)))
	for _, b := range s.blocks {
		if b == nil {
			index = append(index, words(uint32(0), uint32(0))...)
			continue
		}
		index = append(index, words(uint32(bomHeader+len(data)), uint32(len(b)))...)
		data = append(data, b...)
	}
	index = append(index, words(uint32(2), make([]byte, 16))...) // two empty entries of the list of free blocks
	varsAt := uint32(bomHeader + len(data))
	indexAt := varsAt + uint32(len(named))
	head := words([]byte("BOMStore"), uint32(1), uint32(len(s.blocks)-1), indexAt, uint32(len(index)), varsAt, uint32(len(named)))
	return slices.Concat(pad(head, bomHeader), data, named, index)
}

// rows numbers the files breadth first, so that the order by (folder, name) rises too.
func (s *bomStore) rows(all []node, when time.Time) []row {
	sorted := slices.Clone(all)
	slices.SortStableFunc(sorted, func(a, b node) int {
		if d := strings.Count(a.path, "/") - strings.Count(b.path, "/"); d != 0 {
			return d
		}
		return strings.Compare(a.path, b.path)
	})
	number := map[string]uint32{}
	var rows []row
	for i, n := range sorted {
		own := uint32(i + 1)
		number[n.path] = own
		r := row{name: "."}
		if n.path != "." {
			above := path.Dir(n.path[len("./"):])
			if above != "." {
				above = "./" + above
			}
			r.folder, r.name = number[above], path.Base(n.path)
		}
		kind, size, sum := uint8(bomFile), uint32(len(n.data)), cksum(n.data)
		var link []byte
		switch {
		case n.isDir():
			kind, size, sum = bomDir, 0, 0
		case n.isLink():
			kind, link = bomLink, append(bytes.Clone(n.data), 0)
		}
		detail := s.add(words(kind, uint8(bomPathIsKey), uint16(bomAnyArch), uint16(n.mode), uint32(0), n.gid, uint32(when.Unix()),
			size, uint8(1), sum, uint32(len(link)), link))
		r.info = s.add(words(own, detail))
		r.key = s.add(words(r.folder, append([]byte(r.name), 0)))
		rows = append(rows, r)
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		if a.folder != b.folder {
			return int(a.folder) - int(b.folder)
		}
		return strings.Compare(a.name, b.name)
	})
	return rows
}

// paths writes the tree of Paths: leaves, and one block above them when there are several.
func (s *bomStore) paths(rows []row) uint32 {
	leaves := slices.Collect(slices.Chunk(rows, bomPerLeaf))
	first := uint32(len(s.blocks))
	for i, leaf := range leaves {
		var next, before uint32
		if i+1 < len(leaves) {
			next = first + uint32(i) + 1
		}
		if i > 0 {
			before = first + uint32(i) - 1
		}
		b := words(uint16(1), uint16(len(leaf)), next, before)
		for _, r := range leaf {
			b = append(b, words(r.info, r.key)...)
		}
		s.add(pad(b, bomLeaf))
	}
	root := first
	if len(leaves) > 1 {
		b := words(uint16(0), uint16(len(leaves)), uint32(0), uint32(0))
		for i, leaf := range leaves {
			b = append(b, words(first+uint32(i), leaf[len(leaf)-1].key)...)
		}
		root = s.add(pad(b, bomLeaf))
	}
	return s.tree(root, bomLeaf, uint32(len(rows)))
}

func pad(b []byte, size int) []byte { return append(b, make([]byte, size-len(b))...) }

// cksum is the CRC of POSIX's cksum utility.
func cksum(data []byte) uint32 {
	const polynomial = 0x04c11db7
	var crc uint32
	feed := func(b byte) {
		crc ^= uint32(b) << 24
		for range 8 {
			if crc&0x80000000 != 0 {
				crc = crc<<1 ^ polynomial
			} else {
				crc <<= 1
			}
		}
	}
	for _, b := range data {
		feed(b)
	}
	for n := len(data); n > 0; n >>= 8 {
		feed(byte(n))
	}
	return ^crc
}
