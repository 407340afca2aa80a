//go:build linux

package packages

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"lanyard/test/lab"
)

// tarFiles reads a tar archive.
func tarFiles(t *testing.T, b []byte) (heads map[string]*tar.Header, files map[string][]byte) {
	t.Helper()
	heads, files = map[string]*tar.Header{}, map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return heads, files
		}
		if err != nil {
			t.Fatal(err)
		}
		if heads[h.Name] != nil {
			t.Errorf("%s is there twice", h.Name)
		}
		if dir := filepath.Dir(strings.TrimSuffix(h.Name, "/")) + "/"; dir != "./" && heads[dir] == nil {
			t.Errorf("%s stands before its folder", h.Name)
		}
		heads[h.Name] = h
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

type ociDescriptor struct {
	MediaType, Digest string
	Size              int
	Platform          struct{ Architecture, OS string }
	Annotations       map[string]string
}

// layout follows an archive from its index and returns the images' configurations and layers by processor. Every blob
// must be what its descriptor says, and none be left over.
type ociImage struct {
	Architecture, OS string
	Config           struct {
		User, StopSignal      string
		Env, Entrypoint, Cmd  []string
		Volumes, ExposedPorts map[string]any
		Labels                map[string]string
	}
	RootFS struct {
		Type    string
		DiffIDs []string `json:"diff_ids"`
	}
	heads map[string]*tar.Header
	files map[string][]byte
}

func layout(t *testing.T, file string) map[string]ociImage {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, files := tarFiles(t, b)
	seen := map[string]bool{}
	blob := func(d ociDescriptor, v any) []byte {
		t.Helper()
		name := "blobs/sha256/" + strings.TrimPrefix(d.Digest, "sha256:")
		b, ok := files[name]
		if sum := fmt.Sprintf("sha256:%x", sha256.Sum256(b)); !ok || sum != d.Digest || len(b) != d.Size {
			t.Fatalf("%s (%d bytes) is %s with %d bytes", d.Digest, d.Size, sum, len(b))
		}
		seen[name] = true
		if v != nil {
			if err := json.Unmarshal(b, v); err != nil {
				t.Fatal(err)
			}
		}
		return b
	}
	var version struct{ ImageLayoutVersion string }
	if err := json.Unmarshal(files["oci-layout"], &version); err != nil || version.ImageLayoutVersion != "1.0.0" {
		t.Fatalf("the layout's version is %q, %v", version.ImageLayoutVersion, err)
	}
	type index struct{ Manifests []ociDescriptor }
	var top index
	if err := json.Unmarshal(files["index.json"], &top); err != nil || len(top.Manifests) != 1 {
		t.Fatalf("the index is %s, %v", files["index.json"], err)
	}
	all := top.Manifests
	if all[0].MediaType == "application/vnd.oci.image.index.v1+json" {
		var inner index
		blob(all[0], &inner)
		all = inner.Manifests
	}
	images := map[string]ociImage{}
	for _, d := range all {
		var m struct {
			Config ociDescriptor
			Layers []ociDescriptor
		}
		blob(d, &m)
		var c ociImage
		blob(m.Config, &c)
		if len(m.Layers) != 1 || c.RootFS.Type != "layers" || len(c.RootFS.DiffIDs) != 1 {
			t.Fatalf("%d layers, %v", len(m.Layers), c.RootFS)
		}
		z, err := gzip.NewReader(bytes.NewReader(blob(m.Layers[0], nil)))
		if err != nil {
			t.Fatal(err)
		}
		plain, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		if sum := fmt.Sprintf("sha256:%x", sha256.Sum256(plain)); sum != c.RootFS.DiffIDs[0] {
			t.Errorf("the layer is %s, the configuration says %s", sum, c.RootFS.DiffIDs[0])
		}
		c.heads, c.files = tarFiles(t, plain)
		if c.Architecture != d.Platform.Architecture || c.OS != "linux" || d.Platform.OS != "linux" {
			t.Errorf("an image for %s/%s is listed as %v", c.OS, c.Architecture, d.Platform)
		}
		images[c.Architecture] = c
	}
	for name := range files {
		if strings.HasPrefix(name, "blobs/sha256/") && name != "blobs/sha256/" && !seen[name] {
			t.Errorf("nothing leads to %s", name)
		}
	}
	return images
}

var (
	imagesOnce sync.Once
	imageDir   = filepath.Join(built, "releases", "images")
)

var imageArgs = []string{"build", "--version", versions[0], "--stamp", stamp, "--packages", "lanyard-mgmt", "--formats", "oci"}

// imageArchives are the files by processor, "" being the one for all.
func imageArchives(t *testing.T) map[string]string {
	t.Helper()
	imagesOnce.Do(func() {
		run(t, pack, append(imageArgs, "--source", "../..", "--out", imageDir)...)
	})
	base := filepath.Join(imageDir, "lanyard-mgmt-"+versions[0]+"-oci")
	return map[string]string{"": base + ".tar", "amd64": base + "-amd64.tar", "arm64": base + "-arm64.tar"}
}

func TestImagesAreWhole(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	archives := imageArchives(t)
	both := layout(t, archives[""])
	if got := slices.Sorted(maps.Keys(both)); !slices.Equal(got, []string{"amd64", "arm64"}) {
		t.Errorf("the archive for registries has %q", got)
	}
	for arch, i := range both {
		c := i.Config
		if c.User != "65532:65532" || c.StopSignal != "SIGTERM" || c.Volumes["/var/lib/lanyard-mgmt"] == nil || c.ExposedPorts["8443/tcp"] == nil {
			t.Errorf("%s: the configuration is %+v", arch, c)
		}
		if c.Labels["org.opencontainers.image.version"] != versions[0] {
			t.Errorf("%s: the labels are %q", arch, c.Labels)
		}
		state := i.heads["var/lib/lanyard-mgmt/"]
		if state == nil || state.Uid != 65532 || state.Gid != 65532 || state.Mode != 0o700 {
			t.Errorf("%s: the state folder is %+v", arch, state)
		}
		for name, h := range i.heads {
			if name != "var/lib/lanyard-mgmt/" && (h.Uid != 0 || h.Gid != 0 || h.Mode&0o022 != 0 && name != "tmp/") || h.Mode&0o6000 != 0 {
				t.Errorf("%s: %s is %o of %d:%d", arch, name, h.Mode, h.Uid, h.Gid)
			}
		}
		count := 0
		for rest := i.files["etc/ssl/certs/ca-certificates.crt"]; ; count++ {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			if cert, err := x509.ParseCertificate(block.Bytes); err != nil || !cert.IsCA {
				t.Fatalf("%s: certificate %d: %v", arch, count, err)
			}
		}
		if count < 80 {
			t.Errorf("%s: %d authorities", arch, count)
		}
		one := layout(t, archives[arch])
		if len(one) != 1 || one[arch].RootFS.DiffIDs[0] != i.RootFS.DiffIDs[0] {
			t.Errorf("the archive for %s holds something else", arch)
		}
	}
}

// podman runs the engine with a storage of its own.
type podman struct {
	t   *testing.T
	dir string
}

func (p *podman) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), 3*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "podman", append([]string{
		"--root", filepath.Join(p.dir, "root"), "--runroot", filepath.Join(p.dir, "run"), "--tmpdir", filepath.Join(p.dir, "tmp"),
		"--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "file",
	}, args...)...)
	c.WaitDelay = 5 * time.Second
	out, err := c.CombinedOutput()
	return string(out), err
}

func (p *podman) do(args ...string) string {
	p.t.Helper()
	out, err := p.try(args...)
	if err != nil {
		p.t.Fatalf("podman %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

// A real engine loads the image and runs it as the compose file says; what the server keeps outlives the container.
func TestImageRunsAsTheComposeFileSays(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	archives := imageArchives(t)
	text, err := os.ReadFile(filepath.Join(imageDir, "lanyard-mgmt-"+versions[0]+"-compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Services map[string]struct {
			Image       string
			Command     []string
			Volumes     []string
			Tmpfs       []string
			ReadOnly    bool     `yaml:"read_only"`
			CapDrop     []string `yaml:"cap_drop"`
			SecurityOpt []string `yaml:"security_opt"`
			Healthcheck struct{ Test []string }
		}
	}
	if err := yaml.Unmarshal(text, &compose); err != nil {
		t.Fatal(err)
	}
	s := compose.Services["lanyard-mgmt"]
	if len(s.Command) == 0 || len(s.Volumes) != 1 || !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.Healthcheck.Test) < 2 {
		t.Fatalf("the compose file says %+v", s)
	}
	dir, err := os.MkdirTemp("/var/tmp", "lanyard-podman-")
	if err != nil {
		t.Fatal(err)
	}
	p := &podman{t, dir}
	t.Cleanup(func() {
		p.t = t
		_ = exec.Command("podman", "--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--tmpdir", filepath.Join(dir, "tmp"),
			"--runtime", "runc", "--cgroup-manager", "cgroupfs", "rm", "-f", "-a", "-t", "1").Run()
		// The engine cleans up after a container in a process of its own, which mounts the storage once more.
		until(t, time.Minute, "the engine's folder to go", func() error {
			_ = exec.Command("umount", "-l", filepath.Join(dir, "root", "overlay")).Run()
			return os.RemoveAll(dir)
		})
	})
	p.do("load", "--input", archives[""]) // an index: the engine takes the one for this processor
	if out := p.do("run", "--rm", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--network", "none", s.Image, "--version"); !strings.Contains(out, versions[0]) {
		t.Errorf("it says %q", out)
	}
	p.do("rmi", s.Image)
	p.do("load", "--input", archives["amd64"])
	start := func() {
		t.Helper()
		args := []string{"run", "--detach", "--name", "lanyard-mgmt", "--network", "none", "--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096", "--read-only", "--read-only-tmpfs=false"}
		for _, o := range s.Tmpfs {
			args = append(args, "--tmpfs", o)
		}
		for _, o := range s.CapDrop {
			args = append(args, "--cap-drop", o)
		}
		for _, o := range s.SecurityOpt {
			args = append(args, "--security-opt", strings.Replace(o, ":true", "", 1))
		}
		args = append(args, "--volume", s.Volumes[0], s.Image)
		p.do(append(args, s.Command...)...)
		until(t, 90*time.Second, "the server in the container is healthy", func() error {
			out, err := p.try(append([]string{"exec", "lanyard-mgmt"}, s.Healthcheck.Test[1:]...)...)
			if err != nil {
				logs, _ := p.try("logs", "lanyard-mgmt")
				err = fmt.Errorf("%w: %s\n%s", err, out, logs)
			}
			return err
		})
	}
	start()
	if logs := p.do("logs", "lanyard-mgmt"); !strings.Contains(logs, "lanyard up https://192.168.1.10:8443#sha256=") {
		t.Errorf("the log has no join command:\n%s", logs)
	}
	p.do("exec", "lanyard-mgmt", "/usr/bin/lanyard-mgmt", "user", "add", "ann@example.com", "--name", "Ann", "--admin")
	pid := p.do("inspect", "--format", "{{.State.Pid}}", "lanyard-mgmt")
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Uid:\t65532\t65532\t65532\t65532", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("the server's process has no %q:\n%s", want, status)
		}
	}
	watch := lab.StartWatch()
	p.do("stop", "--time", "60", "lanyard-mgmt")
	took := watch.Took()
	watch.Stop()
	if code := p.do("inspect", "--format", "{{.State.ExitCode}}", "lanyard-mgmt"); code != "0" || took > 15*time.Second {
		t.Errorf("asked to stop, it ended with %s after %s", code, took)
	}
	p.do("rm", "lanyard-mgmt")
	start()
	if users := p.do("exec", "lanyard-mgmt", "/usr/bin/lanyard-mgmt", "user", "list"); !strings.Contains(users, "ann@example.com") {
		t.Errorf("after another start the people are:\n%s", users)
	}
}
