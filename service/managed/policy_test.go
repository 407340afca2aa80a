package managed

import (
	"encoding/xml"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"howett.net/plist"

	"lanyard/service/ipc"
)

// admx is the template as far as the settings go.
type admx struct {
	Policies []struct {
		Name      string `xml:"name,attr"`
		Class     string `xml:"class,attr"`
		Key       string `xml:"key,attr"`
		ValueName string `xml:"valueName,attr"`
		Enabled   struct {
			Value string `xml:"value,attr"`
		} `xml:"enabledValue>decimal"`
		Disabled struct {
			Value string `xml:"value,attr"`
		} `xml:"disabledValue>decimal"`
		Texts []struct {
			ValueName string `xml:"valueName,attr"`
		} `xml:"elements>text"`
	} `xml:"policies>policy"`
}

// The template for Group Policy and Intune offers what the program reads, under the names and with the kinds that it reads,
// and nothing else.
func TestTemplateAndProgramKnowTheSamePolicies(t *testing.T) {
	b, err := os.ReadFile("../../wix/lanyard.admx")
	if err != nil {
		t.Fatal(err)
	}
	var a admx
	if err := xml.Unmarshal(b, &a); err != nil {
		t.Fatal(err)
	}
	// What an administrator's console would write.
	offered := map[string]any{}
	for _, p := range a.Policies {
		if p.Key != `SOFTWARE\Policies\Lanyard` || p.Class != "Machine" {
			t.Errorf("%s is of %s %s", p.Name, p.Class, p.Key)
		}
		for _, e := range p.Texts {
			offered[e.ValueName] = "a text"
		}
		if p.ValueName != "" {
			if p.Enabled.Value != "1" || p.Disabled.Value != "0" {
				t.Errorf("%s writes %q and %q", p.Name, p.Enabled.Value, p.Disabled.Value)
			}
			offered[p.ValueName] = uint64(1)
		}
	}
	var asked []string
	s, err := fromPolicy(func(word string) (any, error) {
		asked = append(asked, word)
		return offered[word], nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(asked)
	if got := slices.Sorted(maps.Keys(offered)); !slices.Equal(got, asked) {
		t.Errorf("the template offers %q, the program reads %q", got, asked)
	}
	if n := s.Names(); len(n) != len(asked) {
		t.Errorf("of %q the program makes %q", asked, n)
	}
}

func TestPolicyOfTheWrongKindIsNotGuessedAt(t *testing.T) {
	for word, v := range map[string]any{wordURL: uint64(1), wordAllowSSH: "yes", wordUserspace: uint64(2), wordOperator: true, wordShell: ""} {
		s, err := fromPolicy(func(w string) (any, error) {
			if w == word {
				return v, nil
			}
			return nil, nil
		})
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s = %v: %+v, %v", word, v, s, err)
		}
	}
	if _, err := fromPolicy(func(string) (any, error) { return nil, errors.New("no right to read it") }); err == nil {
		t.Error("what could not be read counts as not there")
	}
}

func TestSystemPolicyGoesBeforeTheFile(t *testing.T) {
	policy, err := fromPolicy(func(w string) (any, error) {
		return map[string]any{wordURL: "https://policy", wordAllowSSH: uint64(0)}[w], nil
	})
	if err != nil {
		t.Fatal(err)
	}
	file, err := Parse([]byte("management_url: https://file\noperator: ann\n"))
	if err != nil {
		t.Fatal(err)
	}
	file.comesFrom("/etc/lanyard/managed.yaml")
	s := policy.over(file)
	if s.ManagementURL != "https://policy" || *s.AllowSSH || *s.Operator != "ann" {
		t.Errorf("%+v", s)
	}
	if s.Source("management_url") != policySource || s.Source("allow_ssh") != policySource || s.Source("operator") != "/etc/lanyard/managed.yaml" {
		t.Errorf("%v", s.from)
	}
	yes := true
	if _, err := s.Settle(ipc.UpRequest{AllowSSH: &yes}); err == nil || !strings.Contains(err.Error(), "allow_ssh") || !strings.Contains(err.Error(), policySource) {
		t.Errorf("a person overrode it: %v", err)
	}
}

// preferences are managed preferences as a configuration profile leaves them.
const preferences = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
<key>ManagementURL</key><string>https://lanyard.example.com</string><key>AllowSSH</key><true/><key>PayloadUUID</key><string>x</string>
</dict></plist>`

func TestManagedPreferencesOfAMac(t *testing.T) {
	var all map[string]any
	if _, err := plist.Unmarshal([]byte(preferences), &all); err != nil {
		t.Fatal(err)
	}
	binary, err := plist.Marshal(all, plist.BinaryFormat)
	if err != nil {
		t.Fatal(err)
	}
	for kind, b := range map[string][]byte{"XML": []byte(preferences), "binary": binary} {
		s, err := ParsePlist(b)
		if err != nil || s.ManagementURL != "https://lanyard.example.com" || s.AllowSSH == nil || !*s.AllowSSH || s.Userspace != nil {
			t.Errorf("%s: %+v, %v", kind, s, err)
		}
	}
	for _, bad := range []string{"", "x", "<plist><array/></plist>", strings.ReplaceAll(preferences, "<true/>", "<string>yes</string>"), strings.Repeat(" ", maxFile+1)} {
		if s, err := ParsePlist([]byte(bad)); err == nil {
			t.Errorf("%.40q gave %+v", bad, s)
		}
	}
}

func FuzzParsePlist(f *testing.F) {
	f.Add([]byte(preferences))
	b, err := plist.Marshal(map[string]any{"AllowSSH": true, "Userspace": 0, "Operator": "ann"}, plist.BinaryFormat)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{ "AllowSSH" = 1; ManagementURL = "https://x"; }`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParsePlist(b)
		if (s == nil) == (err == nil) {
			t.Fatalf("%+v, %v", s, err)
		}
	})
}
