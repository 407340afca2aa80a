package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/x509roots/fallback/bundle"

	"lanyard/installer/oci"
	"lanyard/installer/units"
)

// The server's account in the image: far from those that systems give to people and services.
const imageAccount = 65532

// image makes the container images of the server: one archive for each processor, one with all of them for a registry,
// and a compose file.
func (j *job) image(ctx context.Context) error {
	tag := strings.ReplaceAll(j.version.String(), "+", "-") // a tag's grammar has no plus
	name := server.Name + ":" + tag
	var images []oci.Image
	for _, arch := range j.archs {
		i, err := j.serverImage(ctx, arch)
		if err != nil {
			return err
		}
		images = append(images, i)
		if err := j.archive(fmt.Sprintf("%s-%s-oci-%s.tar", server.Name, j.version, arch), name, i); err != nil {
			return err
		}
	}
	if len(images) > 1 {
		if err := j.archive(fmt.Sprintf("%s-%s-oci.tar", server.Name, j.version), name, images...); err != nil {
			return err
		}
	}
	compose, err := text("compose.yaml")
	if err != nil {
		return err
	}
	return j.write(fmt.Sprintf("%s-%s-compose.yaml", server.Name, j.version), bytes.ReplaceAll(compose, []byte("@IMAGE@"), []byte(name)))
}

func (j *job) archive(file, name string, images ...oci.Image) error {
	b, err := oci.Archive(name, j.version.Time, images...)
	if err != nil {
		return err
	}
	return j.write(file, b)
}

// serverImage is the program, who it runs as, whom it believes, and nothing else: no shell, no package manager.
func (j *job) serverImage(ctx context.Context, arch string) (oci.Image, error) {
	file, err := j.compile(ctx, server, "linux", arch)
	if err != nil {
		return oci.Image{}, err
	}
	program, err := os.ReadFile(file)
	if err != nil {
		return oci.Image{}, err
	}
	terms, err := os.ReadFile(filepath.Join(j.source, "LICENSE"))
	if err != nil {
		return oci.Image{}, err
	}
	const account, state = units.ServerAccount, units.ServerState
	folder := func(path string, mode int64, owner int) oci.File {
		return oci.File{Path: path + "/", Mode: mode, UID: owner, GID: owner}
	}
	plain := func(path string, data []byte) oci.File { return oci.File{Path: path, Mode: 0o644, Data: data} }
	return oci.Image{
		Arch: arch,
		Files: []oci.File{
			folder("etc", 0o755, 0), folder("etc/ssl", 0o755, 0), folder("etc/ssl/certs", 0o755, 0),
			folder("tmp", 0o1777, 0), folder("usr", 0o755, 0), folder("usr/bin", 0o755, 0),
			folder("usr/share", 0o755, 0), folder("usr/share/licenses", 0o755, 0), folder("usr/share/licenses/"+account, 0o755, 0),
			folder("var", 0o755, 0), folder("var/lib", 0o755, 0), folder(strings.TrimPrefix(state, "/"), 0o700, imageAccount),
			plain("etc/group", fmt.Appendf(nil, "root:x:0:\n%s:x:%d:\n", account, imageAccount)),
			plain("etc/passwd", fmt.Appendf(nil, "root:x:0:0:root:/:/nonexistent\n%s:x:%d:%d::%s:/nonexistent\n", account, imageAccount, imageAccount, state)),
			plain("etc/ssl/certs/ca-certificates.crt", authorities()),
			plain("usr/share/licenses/"+account+"/LICENSE", terms),
			{Path: "usr/bin/" + server.Name, Mode: 0o755, Data: program},
		},
		Config: oci.Config{
			User: fmt.Sprintf("%d:%d", imageAccount, imageAccount),
			// The commands find the state folder by the second, in the container as outside.
			Env:        []string{"PATH=/usr/bin", "XDG_STATE_HOME=/var/lib"},
			Entrypoint: []string{"/usr/bin/" + server.Name}, Cmd: []string{"serve", "--listen", "0.0.0.0:8443"},
			ExposedPorts: map[string]struct{}{"8443/tcp": {}}, Volumes: map[string]struct{}{state: {}},
			WorkingDir: "/", StopSignal: "SIGTERM",
			Labels: map[string]string{
				"org.opencontainers.image.title": "Lanyard's management server", "org.opencontainers.image.version": j.version.String(),
				"org.opencontainers.image.licenses": license, "org.opencontainers.image.created": j.version.Time.Format("2006-01-02T15:04:05Z"),
			},
		},
	}, nil
}

// authorities are Mozilla's, of the version that go.mod names, without those that are good for some certificates only.
func authorities() []byte {
	var b bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // into memory
		}
	}
	return b.Bytes()
}
