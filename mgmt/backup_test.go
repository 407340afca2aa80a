package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// part of a made-up backup.
type part struct {
	name, text string
	kind       byte
}

func archive(t testing.TB, parts ...part) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, p := range parts {
		h := &tar.Header{Name: p.name, Mode: 0o777, Size: int64(len(p.text)), Typeflag: p.kind}
		if p.kind == tar.TypeSymlink {
			h.Linkname, h.Size = p.text, 0
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if p.kind != tar.TypeSymlink {
			w.Write([]byte(p.text))
		}
	}
	w.Close()
	z.Close()
	return b.Bytes()
}

var good = []part{{manifestName, `{"format":1}`, tar.TypeReg}, {"mgmt.db", "x", tar.TypeReg}, {"acme/acme_account+key", "k", tar.TypeReg}}

func TestHostileBackupsAreRefused(t *testing.T) {
	if _, err := unpack(bytes.NewReader(archive(t, good...)), t.TempDir()); err != nil {
		t.Fatalf("a good one: %v", err)
	}
	for name, parts := range map[string][]part{
		"a way out":         append(good[:2:2], part{"../evil", "x", tar.TypeReg}),
		"a way out by acme": append(good[:2:2], part{"acme/../../evil", "x", tar.TypeReg}),
		"an absolute name":  append(good[:2:2], part{"/etc/evil", "x", tar.TypeReg}),
		"a link":            append(good[:2:2], part{"ca.key", "/etc/shadow", tar.TypeSymlink}),
		"twice":             append(good[:2:2], good[1]),
		"another program's": {{"x", "{}", tar.TypeReg}},
		"a later format":    {{manifestName, `{"format":2}`, tar.TypeReg}, good[1]},
		"no database":       good[:1],
		"a write-ahead log": append(good[:2:2], part{"mgmt.db-wal", "x", tar.TypeReg}),
	} {
		top := t.TempDir()
		dir := filepath.Join(top, "in")
		os.Mkdir(dir, 0o700)
		if _, err := unpack(bytes.NewReader(archive(t, parts...)), dir); err == nil {
			t.Errorf("%s was taken", name)
		}
		filepath.WalkDir(top, func(path string, d fs.DirEntry, _ error) error {
			if strings.Contains(path, "evil") || d.Type()&fs.ModeSymlink != 0 {
				t.Errorf("%s left %s", name, path)
			}
			return nil
		})
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, good...))
	f.Add(archive(f, good[:1]...))
	f.Add([]byte("no archive"))
	f.Fuzz(func(t *testing.T, b []byte) {
		top := t.TempDir()
		dir := filepath.Join(top, "in")
		os.Mkdir(dir, 0o700)
		unpack(bytes.NewReader(b), dir)
		if names, _ := filepath.Glob(filepath.Join(top, "*")); len(names) != 1 {
			t.Fatalf("it wrote %v", names)
		}
	})
}
