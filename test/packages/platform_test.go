//go:build linux

package packages

import (
	"errors"
	"flag"
	"fmt"
	"go/ast"
	gobuild "go/build"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write README's table of what does not work where")

// systems by GOOS, as README names them.
var systems = map[string]string{"linux": "Linux", "darwin": "macOS", "freebsd": "FreeBSD", "windows": "Windows"}

// function is an exported function or method of a package for one system.
type function struct {
	name        string // pty.PTY.Break
	file        string // without its folder
	from, to    int    // lines of the body; 0: it has no statements
	unsupported string // why it does nothing there; "": it works
}

// functions lists what a package exports for a system, as the files say.
func functions(t *testing.T, dir, system string) (all []function) {
	t.Helper()
	for _, f := range sources(t, dir, system) {
		unsupported := sentinels(f.ast)
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || !fn.Name.IsExported() || fn.Body == nil {
				continue
			}
			name := filepath.Base(dir) + "."
			if fn.Recv != nil {
				of := fn.Recv.List[0].Type
				if p, ok := of.(*ast.StarExpr); ok {
					of = p.X
				}
				id, ok := of.(*ast.Ident)
				if !ok || !id.IsExported() {
					continue
				}
				name += id.Name + "."
			}
			g := function{name: name + fn.Name.Name, file: f.name}
			if len(fn.Body.List) > 0 {
				g.from, g.to = f.line(fn.Body.Lbrace), f.line(fn.Body.Rbrace)
			}
			g.unsupported = why(fn.Body, unsupported)
			all = append(all, g)
		}
	}
	return all
}

type source struct {
	name string
	ast  *ast.File
	line func(token.Pos) int
}

func sources(t *testing.T, dir, system string) (all []source) {
	t.Helper()
	ctx := gobuild.Default
	ctx.GOOS, ctx.GOARCH = system, "amd64"
	p, err := ctx.ImportDir(dir, 0)
	if no := (*gobuild.NoGoError)(nil); err != nil && !errors.As(err, &no) {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	for _, name := range p.GoFiles {
		f, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, source{name, f, func(p token.Pos) int { return fset.Position(p).Line }})
	}
	return all
}

// sentinels are a file's variables that wrap errors.ErrUnsupported, with their sentences.
func sentinels(f *ast.File) map[string]string {
	all := map[string]string{}
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, s := range g.Specs {
			if v, ok := s.(*ast.ValueSpec); ok && len(v.Values) == 1 {
				if text := why(v.Values[0], nil); text != "" {
					all[v.Names[0].Name] = text
				}
			}
		}
	}
	return all
}

// why is the sentence of the error by which code says errors.ErrUnsupported; "" when it does not.
func why(n ast.Node, known map[string]string) (text string) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if sel, ok := n.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Errorf" && len(n.Args) > 1 && isUnsupported(n.Args[len(n.Args)-1]) {
				if lit, ok := n.Args[0].(*ast.BasicLit); ok {
					format, _ := strconv.Unquote(lit.Value)
					text = strings.ReplaceAll(strings.TrimSuffix(format, ": %w"), "%s", "…")
				}
				return false
			}
		case *ast.Ident:
			if s, ok := known[n.Name]; ok {
				text = s
			}
		case ast.Expr:
			if isUnsupported(n) && text == "" {
				text = "(no sentence)"
			}
		}
		return true
	})
	return text
}

func isUnsupported(e ast.Expr) bool {
	sel, ok := e.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "ErrUnsupported"
}

// outcome is what the tests of a package showed on a system.
type outcome struct {
	covered     map[string][][2]int // lines that were run, by file
	unsupported map[string]bool     // what said that it does not work there
}

var (
	profileLine = regexp.MustCompile(`^\S+/([^/:]+):(\d+)\.\d+,(\d+)\.\d+ \d+ ([1-9]\d*)$`)
	attrLine    = regexp.MustCompile(`^=== ATTR  \S+ unsupported (\S+)\s*$`)
)

// ran builds the tests of a package for a system with exec, which runs them and writes their coverage to a file.
func ran(t *testing.T, dir, system string, exec func(program, dir string) (out string, profile []byte, err error)) (r outcome) {
	t.Helper()
	r = outcome{map[string][][2]int{}, map[string]bool{}}
	if len(sources(t, filepath.Join("../..", dir), system)) == 0 {
		return r // there is no such package there
	}
	program := filepath.Join(t.TempDir(), filepath.Base(dir)+".test.exe")
	if msg, err := goTool(system, "test", "-c", "-cover", "-o", program, "./"+dir); err != nil {
		t.Fatalf("%v\n%s", err, msg)
	}
	if _, err := os.Stat(program); err != nil {
		return r // it has no tests there
	}
	out, profile, err := exec(program, dir)
	if err != nil || !strings.Contains(out, "PASS") {
		t.Errorf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(profile)) {
		if m := profileLine.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			from, _ := strconv.Atoi(m[2])
			to, _ := strconv.Atoi(m[3])
			r.covered[m[1]] = append(r.covered[m[1]], [2]int{from, to})
		}
	}
	for line := range strings.Lines(out) {
		if m := attrLine.FindStringSubmatch(line); m != nil {
			r.unsupported[m[1]] = true
		}
	}
	return r
}

func goTool(system string, args ...string) ([]byte, error) {
	c := exec.Command("go", args...)
	c.Dir = "../.."
	c.Env = append(os.Environ(), "GOOS="+system, "GOARCH=amd64", "CGO_ENABLED=0")
	return c.CombinedOutput()
}

func (r outcome) has(f function) bool {
	return slices.ContainsFunc(r.covered[f.file], func(b [2]int) bool { return b[0] >= f.from && b[1] <= f.to })
}

// alsoLooked at for what does not work; their tests on Linux are run elsewhere.
var alsoLooked = []string{"sshd/forward", "sshd/session"}

// Every exported function of platform/* is run by its package's tests, on Linux and on the Windows machine, and what
// says there that it is not supported is what README's table says.
func TestPlatformWorksHereAndOnWindows(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces")
	}
	m := openWindows(t)
	dirs := looked(t)
	onLinux := func(program, dir string) (string, []byte, error) {
		profile := program + ".cover"
		c := exec.CommandContext(within(t, 9*time.Minute), program, "-test.v", "-test.timeout=5m", "-test.coverprofile="+profile)
		c.Dir = filepath.Join("../..", dir)
		out, err := c.CombinedOutput()
		b, _ := os.ReadFile(profile)
		return string(out), b, err
	}
	onWindows := func(program, _ string) (string, []byte, error) {
		out, err := m.Run(within(t, 9*time.Minute), program, "-test.v", "-test.timeout=5m", `-test.coverprofile=C:\cover`)
		b, _ := os.ReadFile(m.Path(`C:\cover`))
		return out, b, err
	}
	look := func(t *testing.T, dir, system string, r outcome) {
		for _, f := range functions(t, filepath.Join("../..", dir), system) {
			if f.from > 0 && !slices.Contains(alsoLooked, dir) && !r.has(f) {
				t.Errorf("no test of its package runs %s on %s", f.name, systems[system])
			}
			if f.unsupported != "" && !r.unsupported[f.name] {
				t.Errorf("%s does not work on %s (%s), and no test says so", f.name, systems[system], f.unsupported)
			}
			delete(r.unsupported, f.name)
		}
		if len(r.unsupported) > 0 {
			t.Errorf("tests say that on %s these do not work: %v; the source does not", systems[system], slices.Sorted(maps.Keys(r.unsupported)))
		}
	}
	for _, dir := range dirs {
		t.Run(dir, func(t *testing.T) {
			if !slices.Contains(alsoLooked, dir) {
				look(t, dir, "linux", ran(t, dir, "linux", onLinux))
			}
			look(t, dir, "windows", ran(t, dir, "windows", onWindows))
		})
	}
}

// looked are the folders in which something may say that it is not supported.
func looked(t *testing.T) (dirs []string) {
	t.Helper()
	all, err := filepath.Glob("../../platform/*")
	if err != nil || len(all) == 0 {
		t.Fatalf("no packages: %v", err)
	}
	for _, d := range all {
		dirs = append(dirs, filepath.Join("platform", filepath.Base(d)))
	}
	return append(dirs, alsoLooked...)
}

const (
	limitsBegin = "<!-- platform: made by go test ./test/packages -run TestPlatformLimits -update -->\n"
	limitsEnd   = "<!-- /platform -->"
)

// What the source says of each system, README does.
func TestPlatformLimitsStandInReadme(t *testing.T) {
	where, what := map[string][]string{}, map[string][]string{} // by sentence
	for _, dir := range looked(t) {
		for system, called := range systems {
			for _, f := range functions(t, filepath.Join("../..", dir), system) {
				if text := f.unsupported; text != "" {
					where[text], what[text] = append(where[text], called), append(what[text], "`"+f.name+"`")
				}
			}
		}
	}
	var b strings.Builder
	b.WriteString("| what | where | in the source |\n|---|---|---|\n")
	for _, text := range slices.Sorted(maps.Keys(where)) {
		list := func(all []string) string { slices.Sort(all); return strings.Join(slices.Compact(all), ", ") }
		fmt.Fprintf(&b, "| %s | %s | %s |\n", text, list(where[text]), list(what[text]))
	}
	const name = "../../README.md"
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(data), limitsBegin)
	old, after, ok2 := strings.Cut(rest, limitsEnd)
	switch {
	case !ok1 || !ok2:
		t.Errorf("README has no %q ... %q", limitsBegin, limitsEnd)
	case old == b.String():
	case *update:
		if err := os.WriteFile(name, []byte(before+limitsBegin+b.String()+limitsEnd+after), 0o644); err != nil {
			t.Error(err)
		}
	default:
		t.Errorf("README's table of what does not work is another; run go test ./test/packages -run TestPlatformLimits -update\n%s", b.String())
	}
}
