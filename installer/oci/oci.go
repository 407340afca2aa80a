// Package oci writes container images without a container engine: a tar archive with the OCI image layout (image-spec
// v1.1, image-layout.md) of an image with one layer, for one processor or for several.
package oci

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// File is a file or folder of an image.
type File struct {
	Path     string // "usr/bin/x", of a folder "usr/bin/"
	Mode     int64
	UID, GID int
	Data     []byte
}

// Config is what an engine runs the image with (image-spec, config.md).
type Config struct {
	User         string              `json:"User,omitempty"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	Env          []string            `json:"Env,omitempty"`
	Entrypoint   []string            `json:"Entrypoint,omitempty"`
	Cmd          []string            `json:"Cmd,omitempty"`
	Volumes      map[string]struct{} `json:"Volumes,omitempty"`
	WorkingDir   string              `json:"WorkingDir,omitempty"`
	Labels       map[string]string   `json:"Labels,omitempty"`
	StopSignal   string              `json:"StopSignal,omitempty"`
}

// Image is an image for one processor.
type Image struct {
	Arch   string // as Go calls it
	Files  []File
	Config Config
}

// Media types (image-spec, media-types.md).
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

type configuration struct {
	platform
	Created time.Time `json:"created"`
	Config  Config    `json:"config"`
	RootFS  struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
	History []history `json:"history"`
}

type history struct {
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
}

// saved is the list that 'docker load' of engines before their own support of the layout goes by.
type saved struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// Archive returns the bytes of an archive of images that differ by their processor, called name ("x:1.2"). With one image
// it is an archive that 'docker load' of older engines reads, too; with several, one for a registry. The same input gives
// the same bytes.
func Archive(name string, made time.Time, images ...Image) ([]byte, error) {
	blobs := blobs{}
	all := index{SchemaVersion: 2, MediaType: typeIndex}
	var old []saved
	for _, image := range images {
		m, s, err := blobs.image(image, made)
		if err != nil {
			return nil, fmt.Errorf("image for %s: %w", image.Arch, err)
		}
		s.RepoTags = []string{name}
		all.Manifests, old = append(all.Manifests, m), append(old, s)
	}
	top := all
	files := []File{{Path: "oci-layout", Data: []byte(`{"imageLayoutVersion":"1.0.0"}`)}}
	if len(images) == 1 {
		b, err := json.Marshal(old)
		if err != nil {
			return nil, err
		}
		files = append(files, File{Path: "manifest.json", Data: b})
	} else {
		b, err := json.Marshal(all)
		if err != nil {
			return nil, err
		}
		top.Manifests = []descriptor{blobs.add(typeIndex, b)}
	}
	top.Manifests[0].Annotations = map[string]string{
		"org.opencontainers.image.ref.name": name, "io.containerd.image.name": "docker.io/library/" + name,
	}
	b, err := json.Marshal(top)
	if err != nil {
		return nil, err
	}
	files = append(files, File{Path: "index.json", Data: b}, File{Path: "blobs/"}, File{Path: "blobs/sha256/"})
	for _, digest := range slices.Sorted(maps.Keys(blobs)) {
		files = append(files, File{Path: "blobs/sha256/" + digest, Data: blobs[digest]})
	}
	for i := range files {
		files[i].Mode = 0o644
		if isFolder(files[i]) {
			files[i].Mode = 0o755
		}
	}
	return archive(files, made)
}

// blobs are contents by the hex of their SHA-256.
type blobs map[string][]byte

func (b blobs) add(mediaType string, data []byte) descriptor {
	digest := fmt.Sprintf("%x", sha256.Sum256(data))
	b[digest] = data
	return descriptor{MediaType: mediaType, Digest: "sha256:" + digest, Size: len(data)}
}

func (b blobs) image(i Image, made time.Time) (descriptor, saved, error) {
	files := slices.Clone(i.Files)
	slices.SortFunc(files, func(x, y File) int { return cmp.Compare(x.Path, y.Path) })
	plain, err := archive(files, made)
	if err != nil {
		return descriptor{}, saved{}, err
	}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return descriptor{}, saved{}, err
	}
	_, err = z.Write(plain)
	if err := errors.Join(err, z.Close()); err != nil {
		return descriptor{}, saved{}, err
	}
	c := configuration{platform: platform{i.Arch, "linux"}, Created: made.UTC(), Config: i.Config}
	c.RootFS.Type, c.RootFS.DiffIDs = "layers", []string{fmt.Sprintf("sha256:%x", sha256.Sum256(plain))}
	c.History = []history{{made.UTC(), "lanyard-pack"}}
	config, err := json.Marshal(c)
	if err != nil {
		return descriptor{}, saved{}, err
	}
	m := manifest{
		SchemaVersion: 2, MediaType: typeManifest, Config: b.add(typeConfig, config), Layers: []descriptor{b.add(typeLayer, packed.Bytes())},
		Annotations: i.Config.Labels,
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return descriptor{}, saved{}, err
	}
	d := b.add(typeManifest, raw)
	d.Platform = &platform{i.Arch, "linux"}
	path := func(d descriptor) string { return "blobs/sha256/" + d.Digest[len("sha256:"):] }
	return d, saved{Config: path(m.Config), Layers: []string{path(m.Layers[0])}}, nil
}

func isFolder(f File) bool { return f.Path[len(f.Path)-1] == '/' }

func archive(files []File, made time.Time) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.Path, Mode: f.Mode, Uid: f.UID, Gid: f.GID, Size: int64(len(f.Data)), ModTime: made, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
		if isFolder(f) {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.Data); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}
