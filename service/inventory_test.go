package main

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"lanyard/service/ipc"
)

func TestInventoryGroupsMachinesByTagAndSystem(t *testing.T) {
	addr := netip.MustParseAddr("100.110.0.5")
	groups, vars := inventory([]ipc.Peer{
		{ID: "p1", Name: "web-1", ServesSSH: true, Tags: []string{"tag:web", "tag:eu-west"}, OS: "linux", LoginAs: "deploy", Addr4: addr},
		{ID: "p2", Name: "db", ShortName: true, ServesSSH: true, Tags: []string{"tag:eu-west"}, OS: "freebsd", Addr4: addr},
		{ID: "p3", Name: "laptop", Tags: []string{"tag:web"}, OS: "linux", Addr4: addr},
	})
	got, err := json.Marshal(groups)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"lanyard":{"hosts":["db","web-1"]},"os_freebsd":{"hosts":["db"]},"os_linux":{"hosts":["web-1"]},"tag_eu_west":{"hosts":["db","web-1"]},"tag_web":{"hosts":["web-1"]}}`
	if string(got) != want {
		t.Errorf("groups:\n%s\nwant\n%s", got, want)
	}
	if v := vars["web-1"]; v.Host != "web-1.lanyard.internal" || v.User != "deploy" || len(vars) != 2 || vars["db"].Host != "db" || vars["db"].User != "" {
		t.Errorf("variables: %+v", vars)
	}
}

// Ansible takes what a variable holds for a template, and runs on the machine that it runs on what stands in it. What
// another machine says of itself, and what the management server names, is none.
func TestInventoryHoldsNoTemplates(t *testing.T) {
	addr := netip.MustParseAddr("100.110.0.5")
	hostile := []string{
		"{{ lookup('pipe', 'id') }}", "{% raw %}", "{# #}", "{{7*7}}", "-oProxyCommand=id", "a\nb", "a\x1b]0;b\x07", `a"b`, "a'b", "a b", "$(id)", "`id`",
		"a: b", "!unsafe", "&a", "*a", "a#b", "{}", "[]", "%h", "",
	}
	for _, s := range hostile {
		groups, vars := inventory([]ipc.Peer{
			{ID: "p1", Name: "web-1", ServesSSH: true, Tags: []string{"tag:" + s}, OS: s, LoginAs: s, Addr4: addr},
			{ID: s, Name: s, SSHName: s, ServesSSH: true, OS: "linux", Addr4: addr},
			{ID: s, Name: "db", SSHName: s + "x", ServesSSH: true, OS: "linux", Addr4: addr},
		})
		want := hostVars{Host: "web-1.lanyard.internal", ID: "p1", Addr: "100.110.0.5"}
		if v := vars["web-1"]; v != want || s != "" && len(vars) != 1 {
			t.Errorf("%q: %+v", s, vars)
		}
		for g := range groups {
			if noWord.MatchString(g) {
				t.Errorf("%q: a group %q", s, g)
			}
		}
	}
	for _, s := range []string{"deploy", "_www", `HOME\ann`, "ann@example.com", "a.b-c", "Administrator"} {
		if _, vars := inventory([]ipc.Peer{{ID: "p1", Name: "web-1", ServesSSH: true, LoginAs: s, Addr4: addr}}); vars["web-1"].User != s {
			t.Errorf("the account %q: %+v", s, vars)
		}
	}
}

func TestMachineOfTheLongestNameStandsInTheInventory(t *testing.T) {
	name := strings.Repeat("a", 63)
	_, vars := inventory([]ipc.Peer{{ID: "p1", Name: name, ServesSSH: true, Addr4: netip.MustParseAddr("100.110.0.5")}})
	if vars[name].Host != name+".lanyard.internal" {
		t.Errorf("%+v", vars)
	}
}

func TestEmptyInventoryIsOne(t *testing.T) {
	groups, _ := inventory(nil)
	if got, _ := json.Marshal(groups); string(got) != `{"lanyard":{"hosts":[]}}` {
		t.Errorf("%s", got)
	}
}
