package wix

import (
	"encoding/xml"
	"fmt"
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

	"lanyard/test/tools"
)

// Every word of the template's policies has a text (service/managed checks that a program reads each).
func TestPolicyTemplateIsWhole(t *testing.T) {
	for name, text := range Policies() {
		if err := xml.Unmarshal(text, new(struct{})); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, m := range regexp.MustCompile(`\$\((string|presentation)\.(\w+)\)`).FindAllStringSubmatch(string(admx), -1) {
		if !strings.Contains(string(adml), `<`+m[1]+` id="`+m[2]+`"`) {
			t.Errorf("lanyard.adml has no %s %s", m[1], m[2])
		}
	}
}

// customs are a sequence's own steps.
type customs struct {
	Custom []struct {
		Action    string `xml:"Action,attr"`
		Condition string `xml:",chardata"`
	}
}

// Whoever may not install the package may have it repaired, as the system and with properties of their own: a repair runs
// nothing that reads them.
func TestRepairTakesNobodysProperties(t *testing.T) {
	var doc struct {
		XMLName xml.Name `xml:"Wix"`
		Product struct {
			Actions []struct {
				ID      string `xml:"Id,attr"`
				Command string `xml:"ExeCommand,attr"`
				Value   string `xml:"Value,attr"`
			} `xml:"CustomAction"`
			Execute customs `xml:"InstallExecuteSequence"`
			UI      customs `xml:"InstallUISequence"`
		}
	}
	if err := xml.Unmarshal(source, &doc); err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, c := range append(doc.Product.Execute.Custom, doc.Product.UI.Custom...) {
		for _, a := range doc.Product.Actions {
			for _, property := range []string{"MANAGEMENT_URL", "SETUP_KEY", "SETUP_KEY_FILE", "START_TRAY"} {
				if a.ID != c.Action || !strings.Contains(a.Command+a.Value, "["+property+"]") {
					continue
				}
				if found++; !strings.Contains(" "+c.Condition+" ", " NOT Installed ") {
					t.Errorf("%s takes %s on the condition %q, which a repair meets", a.ID, property, c.Condition)
				}
			}
		}
	}
	if found != 5+2 {
		t.Errorf("%d properties are taken, want 5 by the system's part and 2 by the person's", found)
	}
}

// buildTiny makes a package of a program that is none.
func buildTiny(t *testing.T, out string) error {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program.exe")
	if err := os.WriteFile(program, []byte("MZ"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Build(t.Context(), Options{Version: "1.2.3", Arch: "amd64", Service: program, Time: time.Unix(1700000000, 0), Out: out})
}

// step is a row of a package's table of what is done in which order.
type step struct {
	action, condition string
	sequence          int
}

// sequences are a package's two orders of steps, and what its actions set which property to.
func sequences(t *testing.T, file string) (steps map[string][]step, set map[string][2]string) {
	t.Helper()
	rows := func(table string) (rows [][]string) {
		out, err := exec.CommandContext(t.Context(), "msiinfo", "export", file, table).Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n")[3:] { // names, types, key
			rows = append(rows, strings.Split(strings.TrimRight(line, "\r"), "\t"))
		}
		return rows
	}
	steps, set = map[string][]step{}, map[string][2]string{}
	for _, table := range []string{"InstallUISequence", "InstallExecuteSequence"} {
		for _, f := range rows(table) {
			n, err := strconv.Atoi(f[2])
			if err != nil {
				t.Fatal(err)
			}
			steps[table] = append(steps[table], step{f[0], f[1], n})
		}
		slices.SortFunc(steps[table], func(a, b step) int { return a.sequence - b.sequence })
	}
	for _, f := range rows("CustomAction") {
		const kind, setsProperty = 0x3f, 51 // msidbCustomActionTypeTextData | msidbCustomActionTypeProperty
		if n, err := strconv.Atoi(f[1]); err != nil {
			t.Fatal(err)
		} else if n&kind == setsProperty {
			set[f[0]] = [2]string{f[2], f[3]}
		}
	}
	return steps, set
}

// perform goes through the steps until the files are counted, as Windows Installer does with what the package says of
// properties: those that were given and, from AppSearch, those that the registry remembers.
func perform(t *testing.T, steps []step, set map[string][2]string, properties, remembered map[string]string) {
	t.Helper()
	holds := func(condition string) bool {
		for word := range strings.SplitSeq(condition, " AND ") {
			name, is, compared := strings.Cut(word, " = ")
			name, not := strings.CutPrefix(name, "NOT ")
			if value := properties[name]; (value != "" && (!compared || value == is)) == not {
				return false
			}
		}
		return true
	}
	for _, s := range steps {
		switch to, sets := set[s.action]; {
		case s.action == "CostInitialize":
			return
		case s.action == "AppSearch":
			maps.Copy(properties, remembered)
		case sets && (s.condition == "" || holds(s.condition)):
			value := to[1]
			for name, is := range properties {
				value = strings.ReplaceAll(value, "["+name+"]", is)
			}
			properties[to[0]] = value
		}
	}
	t.Fatalf("the package has no CostInitialize: %v", steps)
}

// What an administrator gives counts more than what the registry remembers of the installation before, silently as well as
// with windows to see, where the registry is searched before the part that runs as the system begins. A repair takes
// nothing that was given.
func TestGivenPropertiesGoBeforeRememberedOnes(t *testing.T) {
	tools.Need(t, "check-tools-packages", "wixl", "msibuild", "msiinfo")
	file := filepath.Join(t.TempDir(), "lanyard.msi")
	if err := buildTiny(t, file); err != nil {
		t.Fatal(err)
	}
	steps, set := sequences(t, file)
	old := map[string]string{"MANAGEMENT_URL": "https://old.example.com", "START_TRAY": "0"}
	given := map[string]string{"MANAGEMENT_URL": "https://new.example.com", "START_TRAY": "1"}
	for name, c := range map[string]struct{ given, remembered, want map[string]string }{
		"given, and remembered": {given, old, given},
		"given":                 {given, nil, given},
		"remembered":            {nil, old, old},
		"a repair": {map[string]string{
			"Installed": "00:00:00", "MANAGEMENT_URL": given["MANAGEMENT_URL"], "START_TRAY": "1", "GIVENURL": given["MANAGEMENT_URL"], "GIVENTRAY": "1",
		}, old, old},
	} {
		for _, table := range []string{"InstallUISequence", "InstallExecuteSequence"} {
			properties := maps.Clone(c.given)
			if properties == nil {
				properties = map[string]string{}
			}
			perform(t, steps[table], set, properties, c.remembered)
			for property, want := range c.want {
				if got := properties[property]; got != want {
					t.Errorf("%s, %s: %s is %q, want %q", table, name, property, got, want)
				}
			}
		}
	}
	for action, to := range set {
		if strings.HasPrefix(action, "Save") && to[0] == strings.ToUpper(to[0]) {
			t.Errorf("%s keeps what was given in %s, which a command line can name", action, to[0])
		}
	}
}

func TestPartsAreKeptOrLeftOut(t *testing.T) {
	const text = "a<?ifdef X?>b<?endif?>c<?ifdef Y?>d<?endif?>e<?ifdef X?>f<?endif?>"
	if got := given(given(text, "X", true), "Y", false); got != "abcef" {
		t.Errorf("%q", got)
	}
	if got := given(given(text, "X", false), "Y", true); got != "acde" {
		t.Errorf("%q", got)
	}
}

// Wixl warns of what it leaves out and says that all is well: a package without it is no package.
func TestWordOfWixlFailsTheBuild(t *testing.T) {
	tools.Need(t, "check-tools-packages", "wixl", "msibuild")
	wixl, err := exec.LookPath("wixl")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	const warning = "warning: unhandled element Condition"
	for name, says := range map[string]string{"nothing": "", "a warning": "echo '" + warning + "' >&2", "a line": "echo '" + warning + "'"} {
		t.Run(name, func(t *testing.T) {
			script := fmt.Sprintf("#!/bin/sh\n%s\nexec '%s' \"$@\"\n", says, wixl)
			if err := os.WriteFile(filepath.Join(dir, "wixl"), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(t.TempDir(), "lanyard.msi")
			err := buildTiny(t, out)
			_, missing := os.Stat(out)
			if says == "" {
				if err != nil || missing != nil {
					t.Errorf("without a word: %v, %v", err, missing)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), warning) || missing == nil {
				t.Errorf("%v, and the package is there: %v", err, missing == nil)
			}
		})
	}
}
