package wix

import (
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
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
			Sequence struct {
				Custom []struct {
					Action    string `xml:"Action,attr"`
					Condition string `xml:",chardata"`
				}
			} `xml:"InstallExecuteSequence"`
		}
	}
	if err := xml.Unmarshal(source, &doc); err != nil {
		t.Fatal(err)
	}
	when := map[string]string{}
	for _, c := range doc.Product.Sequence.Custom {
		when[c.Action] = c.Condition
	}
	found := 0
	for _, a := range doc.Product.Actions {
		for _, property := range []string{"MANAGEMENT_URL", "SETUP_KEY", "SETUP_KEY_FILE", "START_TRAY"} {
			if !strings.Contains(a.Command+a.Value, "["+property+"]") {
				continue
			}
			if found++; !strings.Contains(" "+when[a.ID]+" ", " NOT Installed ") {
				t.Errorf("%s takes %s on the condition %q, which a repair meets", a.ID, property, when[a.ID])
			}
		}
	}
	if found != 5 {
		t.Errorf("%d properties are taken, want 5", found)
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
	wixl, err := exec.LookPath("wixl")
	if err == nil {
		_, err = exec.LookPath("msibuild")
	}
	if err != nil {
		t.Skip("needs root: wixl and msibuild are installed by 'make check-tools-packages'")
	}
	dir := t.TempDir()
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	program := filepath.Join(dir, "program.exe")
	if err := os.WriteFile(program, []byte("MZ"), 0o600); err != nil {
		t.Fatal(err)
	}
	const warning = "warning: unhandled element Condition"
	for name, says := range map[string]string{"nothing": "", "a warning": "echo '" + warning + "' >&2", "a line": "echo '" + warning + "'"} {
		t.Run(name, func(t *testing.T) {
			script := fmt.Sprintf("#!/bin/sh\n%s\nexec '%s' \"$@\"\n", says, wixl)
			if err := os.WriteFile(filepath.Join(dir, "wixl"), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(t.TempDir(), "lanyard.msi")
			err := Build(t.Context(), Options{Version: "1.2.3", Arch: "amd64", Service: program, Time: time.Unix(1700000000, 0), Out: out})
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
