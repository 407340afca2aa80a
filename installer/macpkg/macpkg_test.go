package macpkg

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"crypto/sha1"
	"debug/macho"
	"encoding/binary"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lanyard/test/tools"
)

func sample() Package {
	p := Package{
		Identifier: "lanyard", Version: "1.2.3", Title: "Lanyard & friends", MinSystem: "12.0", Archs: []string{"arm64", "x86_64"},
		Time:    time.Unix(1700000000, 0),
		Scripts: []File{{Path: "postinstall", Mode: 0o755, Data: []byte("#!/bin/sh\nexit 0\n")}},
	}
	for i := range 400 { // more than one leaf of the bill of materials
		p.Files = append(p.Files, File{Path: fmt.Sprintf("usr/local/share/lanyard/%03d", i), Mode: 0o644, Data: []byte(strings.Repeat("x", i))})
	}
	p.Files = append(p.Files, File{Path: "usr/local/bin/lanyard", Mode: 0o755, Data: []byte("program")})
	return p
}

type tocFile struct {
	Name  string    `xml:"name"`
	Type  string    `xml:"type"`
	Files []tocFile `xml:"file"`
	Data  struct {
		Length   int    `xml:"length"`
		Offset   int    `xml:"offset"`
		Size     int    `xml:"size"`
		Archived string `xml:"archived-checksum"`
		Content  string `xml:"extracted-checksum"`
		Encoding struct {
			Style string `xml:"style,attr"`
		} `xml:"encoding"`
	} `xml:"data"`
}

// open reads a xar archive and checks every checksum of it.
func open(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	if binary.BigEndian.Uint32(b) != xarMagic {
		t.Fatal("no xar")
	}
	size := int(binary.BigEndian.Uint64(b[8:]))
	table := b[xarHeader : xarHeader+size]
	heap := b[xarHeader+size:]
	if sum := sha1.Sum(table); !bytes.Equal(sum[:], heap[:20]) {
		t.Fatal("the table's checksum is wrong")
	}
	var toc struct {
		Files []tocFile `xml:"toc>file"`
	}
	if err := xml.Unmarshal(inflate(t, table), &toc); err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	var walk func(prefix string, files []tocFile)
	walk = func(prefix string, files []tocFile) {
		for _, f := range files {
			if f.Type == "directory" {
				walk(prefix+f.Name+"/", f.Files)
				continue
			}
			packed := heap[f.Data.Offset : f.Data.Offset+f.Data.Length]
			plain := packed
			if f.Data.Encoding.Style == "application/x-gzip" {
				plain = inflate(t, packed)
			}
			if fmt.Sprintf("%x", sha1.Sum(packed)) != f.Data.Archived || fmt.Sprintf("%x", sha1.Sum(plain)) != f.Data.Content || len(plain) != f.Data.Size {
				t.Errorf("%s: checksum or size is wrong", f.Name)
			}
			all[prefix+f.Name] = plain
		}
	}
	walk("", toc.Files)
	return all
}

func inflate(t *testing.T, b []byte) []byte {
	t.Helper()
	r, err := zlib.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPackageIsWholeAndAlwaysTheSame(t *testing.T) {
	a, err := New(sample())
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := New(sample()); !bytes.Equal(a, b) {
		t.Fatal("two runs differ")
	}
	files := open(t, a)
	for _, name := range []string{"Distribution", "lanyard.pkg/PackageInfo"} {
		if err := xml.Unmarshal(files[name], new(struct{})); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !bytes.Contains(files["Distribution"], []byte("#lanyard.pkg")) || !bytes.Contains(files["lanyard.pkg/PackageInfo"], []byte(`postinstall file="./postinstall"`)) {
		t.Error("the package does not name its part or its script")
	}
	if bytes.Contains(files["lanyard.pkg/PackageInfo"], []byte("preinstall file")) {
		t.Error("a script is named that is not there")
	}
	z, err := gzip.NewReader(bytes.NewReader(files["lanyard.pkg/Payload"]))
	if err != nil {
		t.Fatal(err)
	}
	cpio, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(cpio, []byte("./usr/local/bin/lanyard\x00program")) {
		t.Error("the payload does not hold the program")
	}
}

// The paths that a bill of materials lists, read back from its blocks.
func TestBillOfMaterialsListsEveryFileOnce(t *testing.T) {
	all := nodes(sample().Files)
	b := bom(all, time.Unix(1, 0))
	u32 := func(at uint32) uint32 { return binary.BigEndian.Uint32(b[at:]) }
	index, vars := u32(16), u32(24)
	block := func(n uint32) []byte {
		at := index + 4 + 8*n
		return b[u32(at) : u32(at)+u32(at+4)]
	}
	var paths uint32
	at := vars + 4
	for range u32(vars) {
		name := string(b[at+5 : at+5+uint32(b[at+4])])
		if name == "Paths" {
			paths = u32(at)
		}
		at += 5 + uint32(b[at+4])
	}
	tree := block(paths)
	if string(tree[:4]) != "tree" {
		t.Fatal("no tree")
	}
	leaf := block(binary.BigEndian.Uint32(tree[8:]))
	if binary.BigEndian.Uint16(leaf) == 0 { // branches: the first leaf is the first child
		leaf = block(binary.BigEndian.Uint32(leaf[12:]))
	}
	seen := map[string]bool{}
	names := map[uint32]string{0: ""}
	for {
		for i := range int(binary.BigEndian.Uint16(leaf[2:])) {
			info := block(binary.BigEndian.Uint32(leaf[12+8*i:]))
			key := block(binary.BigEndian.Uint32(leaf[16+8*i:]))
			folder, name := binary.BigEndian.Uint32(key), string(bytes.TrimSuffix(key[4:], []byte{0}))
			full := names[folder] + "/" + name
			names[binary.BigEndian.Uint32(info)] = full
			if seen[full] {
				t.Errorf("%s is listed twice", full)
			}
			seen[full] = true
		}
		next := binary.BigEndian.Uint32(leaf[4:])
		if next == 0 {
			break
		}
		leaf = block(next)
	}
	if len(seen) != len(all) || !seen["/./usr/local/bin/lanyard"] || !seen["/./usr/local/share/lanyard/399"] {
		t.Errorf("%d of %d files are listed", len(seen), len(all))
	}
}

func TestChecksumIsThatOfCksum(t *testing.T) {
	for _, s := range []string{"", "a", "lanyard\n", strings.Repeat("x", 70000)} {
		c := exec.Command("cksum")
		c.Stdin = strings.NewReader(s)
		out, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.Fields(string(out))[0]; want != fmt.Sprint(cksum([]byte(s))) {
			t.Errorf("%d, want %s", cksum([]byte(s)), want)
		}
	}
}

func TestBsdtarReadsThePackage(t *testing.T) {
	tools.Need(t, "check-tools-packages", "bsdtar")
	b, err := New(sample())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "p.pkg")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("bsdtar", "-xf", file, "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command("bsdtar", "-tvf", filepath.Join(dir, "lanyard.pkg/Payload")).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "./usr/local/bin/lanyard") || strings.Count(string(out), "\n") != len(nodes(sample().Files)) {
		t.Fatalf("%v\n%s", err, out)
	}
}

// machO is the least that a reader takes for a program of a processor.
func machO(cpu macho.Cpu, rest string) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, macho.Magic64), append(bytes.Join([][]byte{
		binary.LittleEndian.AppendUint32(nil, uint32(cpu)), binary.LittleEndian.AppendUint32(nil, 3), binary.LittleEndian.AppendUint32(nil, uint32(macho.TypeExec)), make([]byte, 16),
	}, nil), rest...)...)
}

// One program for both processors: a reader finds each whole, at the page where the system wants it.
func TestUniversalProgramHoldsBoth(t *testing.T) {
	parts := map[macho.Cpu][]byte{macho.CpuAmd64: machO(macho.CpuAmd64, "Intel"), macho.CpuArm64: machO(macho.CpuArm64, "Apple silicon")}
	both, err := Universal(parts[macho.CpuAmd64], parts[macho.CpuArm64])
	if err != nil {
		t.Fatal(err)
	}
	fat, err := macho.NewFatFile(bytes.NewReader(both))
	if err != nil {
		t.Fatal(err)
	}
	if len(fat.Arches) != 2 {
		t.Fatalf("it is for %d processors", len(fat.Arches))
	}
	for _, a := range fat.Arches {
		if a.Offset%(1<<a.Align) != 0 || a.Align != 14 || !bytes.Equal(both[a.Offset:a.Offset+a.Size], parts[a.Cpu]) {
			t.Errorf("the part for %s: %+v", a.Cpu, a.FatArchHeader)
		}
	}
	if _, err := Universal(parts[macho.CpuAmd64], parts[macho.CpuAmd64]); err == nil {
		t.Error("two programs for one processor are joined")
	}
	if _, err := Universal([]byte("#!/bin/sh")); err == nil {
		t.Error("a script is taken for a program")
	}
}
