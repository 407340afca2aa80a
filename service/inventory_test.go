package main

import (
	"encoding/json"
	"net/netip"
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

func TestEmptyInventoryIsOne(t *testing.T) {
	groups, _ := inventory(nil)
	if got, _ := json.Marshal(groups); string(got) != `{"lanyard":{"hosts":[]}}` {
		t.Errorf("%s", got)
	}
}
