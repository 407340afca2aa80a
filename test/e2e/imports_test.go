package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const module = "lanyard"

// goPackage is what `go list -json` says of a package.
type goPackage struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func list(t *testing.T, system string, args ...string) []goPackage {
	t.Helper()
	c := exec.CommandContext(t.Context(), "go", append([]string{"list", "-e", "-json=ImportPath,Imports,Deps"}, args...)...)
	c.Dir = "../.."
	c.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, errs.String())
	}
	var all []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// in reports whether pkg is one of the trees, or under one of them.
func in(pkg string, trees ...string) bool {
	for _, tree := range trees {
		if pkg == tree || strings.HasPrefix(pkg, tree+"/") {
			return true
		}
	}
	return false
}

// allowed lists, for each tree of ours, the trees of ours that it may import directly. The first entry that a package
// is in counts.
var allowed = []struct {
	tree string
	may  []string
}{
	{"platform", []string{"platform"}},
	{"mgmt/api/reason", nil},
	{"mgmt/api/audit", []string{"mgmt/api/reason"}},
	{"mgmt/api", []string{"mgmt/api"}},
	{"mgmt/policy", []string{"mgmt/api", "mgmt/policy", "sshd/token"}},
	{"sshd/token", []string{"mgmt/api", "sshd/token"}},
	{"sshd", []string{"sshd", "mgmt/api", "mgmt/policy", "platform"}},
	{"service", []string{"service", "sshd", "mgmt/api", "mgmt/policy", "platform", "installer/units"}},
	{"tray", []string{"tray", "service/ipc", "service/login", "service/keystore", "service/doctor", "mgmt/api", "platform", "installer/units"}},
	{"mgmt", []string{"mgmt", "sshd/token", "platform", "installer/units"}},
	{"installer", []string{"installer", "wix", "platform"}},
	{"wix", nil},
	// A machine that was taken over has all that the machine has.
	{"test/hostile", []string{"test", "mgmt/api", "service", "sshd/token", "platform"}},
	{"test", []string{"test", "mgmt/api"}},
}

// never lists what a tree must not link, however indirectly.
var never = []struct {
	tree string
	deps []string
}{
	{"service", []string{"github.com/dexidp/dex", "modernc.org/sqlite", "github.com/danielgtaylor/huma/v2", "github.com/prometheus/client_golang"}},
	{"tray", []string{
		"github.com/dexidp/dex", "modernc.org/sqlite", "github.com/danielgtaylor/huma/v2", "github.com/prometheus/client_golang",
		// The token's format (sshd/token) is what a login makes; the server itself is not.
		module + "/sshd/session", module + "/sshd/sftp", module + "/sshd/forward", module + "/service/tunnel", module + "/service/daemon",
	}},
	{"sshd", []string{"net/http", "golang.zx2c4.com/wireguard"}},
	{"mgmt/policy", []string{"net/http", "os/exec"}},
	{"mgmt", []string{"golang.zx2c4.com/wireguard", module + "/service"}},
}

func TestImportsPointOneWay(t *testing.T) {
	for _, system := range []string{"linux", "windows", "darwin", "freebsd"} {
		t.Run(system, func(t *testing.T) {
			packages := list(t, system, "./...")
			if len(packages) < 10 {
				t.Fatalf("only %d packages were looked at", len(packages))
			}
			for _, p := range packages {
				for _, wrong := range violations(p) {
					t.Error(wrong)
				}
			}
		})
	}
}

func violations(p goPackage) (found []string) {
	own := strings.TrimPrefix(p.ImportPath, module+"/")
	for _, rule := range allowed {
		if !in(own, rule.tree) {
			continue
		}
		for _, i := range p.Imports {
			if ours, ok := strings.CutPrefix(i, module+"/"); ok && !in(ours, rule.may...) {
				found = append(found, p.ImportPath+" imports "+i)
			}
		}
		break
	}
	for _, rule := range never {
		if !in(own, rule.tree) {
			continue
		}
		// The key-bound token's API side and the wire client are mgmt's and service's, not sshd's.
		for _, d := range p.Deps {
			if in(d, rule.deps...) {
				found = append(found, p.ImportPath+" links "+d)
			}
		}
	}
	return found
}

// The check itself must see what it is there for.
func TestForbiddenImportIsFound(t *testing.T) {
	for _, p := range []goPackage{
		{ImportPath: "lanyard/platform/pty", Imports: []string{"lanyard/mgmt/api"}},
		{ImportPath: "lanyard/sshd/session", Deps: []string{"net/http"}},
		{ImportPath: "lanyard/service/daemon", Deps: []string{"github.com/dexidp/dex/server"}},
		{ImportPath: "lanyard/tray", Deps: []string{"lanyard/sshd/session"}},
		{ImportPath: "lanyard/mgmt/api/reason", Imports: []string{"lanyard/mgmt/api"}},
		{ImportPath: "lanyard/test/lab", Imports: []string{"lanyard/sshd"}},
		{ImportPath: "lanyard/mgmt/server", Imports: []string{"lanyard/service/ipc"}},
	} {
		if len(violations(p)) == 0 {
			t.Errorf("%+v passes", p)
		}
	}
	if v := violations(goPackage{ImportPath: "lanyard/service/daemon", Imports: []string{"lanyard/sshd", "fmt"}}); len(v) > 0 {
		t.Error(v)
	}
}
