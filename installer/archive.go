package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// archives are for systems without a package of ours, and for whoever wants the bare programs: `lanyard service install`
// does the rest.
func (j *job) archives(ctx context.Context) error {
	for _, system := range []string{"linux", "freebsd", "darwin", "windows"} {
		for _, arch := range j.archs {
			top := fmt.Sprintf("lanyard-%s-%s-%s", j.version, system, arch)
			t, err := j.archiveTree(ctx, system, arch)
			if err != nil {
				return err
			}
			name, pack := top+".tar.gz", tarball
			if system == "windows" {
				name, pack = top+".zip", zipfile
			}
			b, err := pack(j, top, t.sorted())
			if err != nil {
				return err
			}
			if err := j.write(name, b); err != nil {
				return err
			}
		}
	}
	return nil
}

func (j *job) archiveTree(ctx context.Context, system, arch string) (tree, error) {
	var t tree
	ext := ""
	if system == "windows" {
		ext = ".exe"
	}
	for _, p := range j.theirPrograms(system) {
		file, err := j.compile(ctx, p, system, arch)
		if errors.Is(err, errNoTray) {
			continue
		}
		if err != nil {
			return nil, err
		}
		t.program("/"+p.Name+ext, file)
	}
	for _, name := range []string{"LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md"} {
		b, err := os.ReadFile(filepath.Join(j.source, name))
		if err != nil {
			return nil, err
		}
		t.file("/"+name, b)
	}
	return t, nil
}

func tarball(j *job, top string, t tree) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(z)
	for _, e := range t {
		data, err := e.read()
		if err != nil {
			return nil, err
		}
		h := &tar.Header{Name: top + e.Path, Mode: int64(e.Mode), Size: int64(len(data)), ModTime: j.version.Time, Uname: "root", Gname: "root", Format: tar.FormatUSTAR}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(data); err != nil {
			return nil, err
		}
	}
	err = errors.Join(w.Close(), z.Close())
	return b.Bytes(), err
}

func zipfile(j *job, top string, t tree) ([]byte, error) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range t {
		data, err := e.read()
		if err != nil {
			return nil, err
		}
		h := &zip.FileHeader{Name: top + e.Path, Method: zip.Deflate, Modified: j.version.Time}
		h.SetMode(e.Mode)
		f, err := w.CreateHeader(h)
		if err != nil {
			return nil, err
		}
		if _, err := f.Write(data); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}
