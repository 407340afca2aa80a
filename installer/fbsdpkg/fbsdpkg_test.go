package fbsdpkg

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"lanyard/test/tools"
)

func sample() Package {
	return Package{
		Name: "lanyard", Version: "1.2.3", Origin: "net/lanyard", Release: "14", Arch: "arm64", Comment: "a comment", Description: "more words",
		Maintainer: "a@b", Homepage: "https://c", License: "BSD3CLAUSE", Message: "read this", Time: time.Unix(1700000000, 0),
		Files: []File{
			{"/usr/local/bin/lanyard", 0o755, []byte("program")},
			{"/usr/local/etc/rc.d/lanyard", 0o755, []byte("#!/bin/sh\n")},
			{"/usr/local/share/empty", 0o644, nil},
		},
		Folders: []string{"/usr/local/etc/lanyard"},
		Scripts: map[string]string{"post-install": "#!/bin/sh\nexit 0\n", "pre-deinstall": "exit 1"},
	}
}

// entries reads a package: what it holds in order, and the contents.
func entries(t *testing.T, b []byte) (heads []*tar.Header, data map[string][]byte) {
	t.Helper()
	z, err := zstd.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	data = map[string][]byte{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return heads, data
		}
		if err != nil {
			t.Fatal(err)
		}
		heads = append(heads, h)
		if data[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPackageHasBothManifestsFirst(t *testing.T) {
	b, err := New(sample())
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := New(sample()); !bytes.Equal(b, again) {
		t.Error("two runs differ")
	}
	heads, data := entries(t, b)
	var names []string
	for _, h := range heads {
		names = append(names, h.Name)
		if h.Uname != "root" || h.Gname != "wheel" || h.Uid != 0 || h.Gid != 0 || h.ModTime.Unix() != 1700000000 {
			t.Errorf("%s is %s:%s of %s", h.Name, h.Uname, h.Gname, h.ModTime)
		}
	}
	// pkg reads the manifests before it has seen any file.
	if got := strings.Join(names, " "); got != "+COMPACT_MANIFEST +MANIFEST /usr/local/bin/lanyard /usr/local/etc/rc.d/lanyard /usr/local/share/empty" {
		t.Fatalf("it holds %s", got)
	}
	if heads[2].Mode != 0o755 || heads[4].Mode != 0o644 {
		t.Errorf("modes %o, %o", heads[2].Mode, heads[4].Mode)
	}
	var compact, full map[string]any
	if err := errors.Join(json.Unmarshal(data["+COMPACT_MANIFEST"], &compact), json.Unmarshal(data["+MANIFEST"], &full)); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"name": "lanyard", "version": "1.2.3", "origin": "net/lanyard", "abi": "FreeBSD:14:aarch64", "arch": "freebsd:14:aarch64:64",
		"prefix": "/usr/local", "comment": "a comment", "desc": "more words", "flatsize": float64(17), "licenselogic": "single",
	} {
		if full[key] != want || compact[key] != want {
			t.Errorf("%s is %v and %v, want %v", key, full[key], compact[key], want)
		}
	}
	for _, key := range []string{"files", "scripts", "directories", "messages"} {
		if compact[key] != nil || full[key] == nil {
			t.Errorf("%s: compact %v, full %v", key, compact[key], full[key])
		}
	}
	files := full["files"].(map[string]any)
	for _, f := range sample().Files {
		if want := fmt.Sprintf("1$%x", sha256.Sum256(f.Data)); files[f.Path] != want {
			t.Errorf("%s has the checksum %v, want %s", f.Path, files[f.Path], want)
		}
	}
	if scripts := full["scripts"].(map[string]any); len(files) != 3 || scripts["pre-deinstall"] != "exit 1" {
		t.Errorf("%d files, scripts %v", len(files), scripts)
	}
}

func TestProcessorsHaveFreeBSDsNames(t *testing.T) {
	p := sample()
	p.Arch = "amd64"
	b, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	_, data := entries(t, b)
	if m := string(data["+MANIFEST"]); !strings.Contains(m, `"FreeBSD:14:amd64"`) || !strings.Contains(m, `"freebsd:14:x86:64"`) {
		t.Errorf("%s", m)
	}
	if name := p.FileName(); name != "lanyard-1.2.3-freebsd14-amd64.pkg" {
		t.Error(name)
	}
	p.Arch = "mips"
	if _, err := New(p); err == nil {
		t.Error("a processor is taken that FreeBSD has no name for")
	}
}

func TestBsdtarReadsThePackage(t *testing.T) {
	tools.Need(t, "check-tools-packages", "bsdtar")
	b, err := New(sample())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "p.pkg")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("bsdtar", "-tvf", file).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "-rwxr-xr-x  0 root   wheel") || !strings.Contains(string(out), "/usr/local/etc/rc.d/lanyard") {
		t.Errorf("%v\n%s", err, out)
	}
}
