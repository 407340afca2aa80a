// Package fbsdpkg writes packages for FreeBSD's pkg(8), on any system: a zstd-compressed tar archive that begins with
// two manifests in JSON (pkg-create(8)): one for catalogues, and one with every file's checksum and the scripts.
package fbsdpkg

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// File is a file to install.
type File struct {
	Path string // absolute
	Mode int64
	Data []byte
}

// Package is what New writes.
type Package struct {
	Name, Version, Origin string
	Release               string // of FreeBSD: "14"
	Arch                  string // as Go calls it
	Comment, Description  string
	Maintainer, Homepage  string
	License               string
	Message               string // shown after installation
	Files                 []File
	Folders               []string          // removed with the package when they are empty
	Scripts               map[string]string // by pkg's names: post-install, pre-deinstall, ...
	Time                  time.Time
}

// FileName is what the package is called; the release tells those for several apart.
func (p Package) FileName() string {
	return fmt.Sprintf("%s-%s-freebsd%s-%s.pkg", p.Name, p.Version, p.Release, p.Arch)
}

// processors are FreeBSD's names: of the ABI, and the older ones.
var processors = map[string][2]string{
	"amd64": {"amd64", "x86:64"},
	"arm64": {"aarch64", "aarch64:64"},
}

// New returns the package's bytes. The same Package gives the same bytes.
func New(p Package) ([]byte, error) {
	compact, full, err := p.manifests()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(z)
	put := func(name string, mode int64, data []byte) error {
		h := &tar.Header{Name: name, Mode: mode, Size: int64(len(data)), ModTime: p.Time, Uname: "root", Gname: "wheel", Format: tar.FormatUSTAR}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err := w.Write(data)
		return err
	}
	errs := []error{put("+COMPACT_MANIFEST", 0o644, compact), put("+MANIFEST", 0o644, full)}
	for _, f := range p.Files {
		errs = append(errs, put(f.Path, f.Mode, f.Data))
	}
	if err := errors.Join(append(errs, w.Close(), z.Close())...); err != nil {
		return nil, fmt.Errorf("write %s: %w", p.FileName(), err)
	}
	return b.Bytes(), nil
}

func (p Package) manifests() (compact, full []byte, err error) {
	cpu, ok := processors[p.Arch]
	if !ok {
		return nil, nil, fmt.Errorf("FreeBSD has no name for the processor %q", p.Arch)
	}
	var flat int64
	files, folders := map[string]string{}, map[string]string{}
	for _, f := range p.Files {
		files[f.Path] = fmt.Sprintf("1$%x", sha256.Sum256(f.Data)) // 1: SHA-256 in hex
		flat += int64(len(f.Data))
	}
	for _, d := range p.Folders {
		folders[d] = "y"
	}
	m := map[string]any{
		"name": p.Name, "origin": p.Origin, "version": p.Version, "comment": p.Comment, "maintainer": p.Maintainer, "www": p.Homepage,
		"abi": "FreeBSD:" + p.Release + ":" + cpu[0], "arch": "freebsd:" + p.Release + ":" + cpu[1],
		"prefix": "/usr/local", "flatsize": flat, "licenselogic": "single", "licenses": []string{p.License},
		"desc": p.Description, "categories": []string{strings.Split(p.Origin, "/")[0]},
	}
	if compact, err = json.Marshal(m); err != nil { // keys in order
		return nil, nil, err
	}
	all := maps.Clone(m)
	all["files"], all["directories"], all["scripts"] = files, folders, p.Scripts
	if p.Message != "" {
		all["messages"] = []map[string]string{{"type": "install", "message": p.Message}}
	}
	full, err = json.Marshal(all)
	return compact, full, err
}
