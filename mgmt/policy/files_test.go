package policy

import (
	"slices"
	"strings"
	"testing"

	"lanyard/mgmt/api"
)

func TestFilesAreTheUnionOfTheRulesThatPass(t *testing.T) {
	can := func(paths []string, can ...api.Capability) api.Rule {
		return rule(func(r *api.Rule) { r.Can, r.SFTPPaths = can, paths })
	}
	for _, c := range []struct {
		rules []api.Rule
		want  []FileGrant
	}{
		{[]api.Rule{rule()}, []FileGrant{{AllFiles, true}}}, // by default
		{[]api.Rule{can(nil, api.CapShell)}, nil},
		{[]api.Rule{can(nil, api.CapSFTPRead)}, []FileGrant{{AllFiles, false}}},
		{[]api.Rule{can([]string{"/srv", "~/in"}, api.CapSFTP)}, []FileGrant{{"/srv", true}, {"~/in", true}}},
		{
			[]api.Rule{can([]string{"/srv"}, api.CapSFTP), can(nil, api.CapSFTPRead), can([]string{"/srv"}, api.CapSFTP)},
			[]FileGrant{{"/srv", true}, {AllFiles, false}},
		},
		{[]api.Rule{can([]string{"/srv"}, api.CapSFTPRead), rule()}, []FileGrant{{"/srv", false}, {AllFiles, true}}},
	} {
		if got := Decide(query(c.rules...)).Files; !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v, want %v", c.rules, got, c.want)
		}
	}
}

func TestFoldersThatWouldLimitNothingAreRefused(t *testing.T) {
	of := func(paths []string, can ...api.Capability) api.Policy {
		p := policy("everyone", "all")
		p.Can, p.SFTPPaths = can, paths
		return p
	}
	for _, good := range []string{"/", "/srv/www", "/srv/a b", "~", "~/in/x", `C:\data`, "D:/data"} {
		if err := Validate(of([]string{good}, api.CapSFTP, api.CapForwardLocal)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "srv", "../srv", "/srv/..", "~ann", "~/../x", "/srv\n", " /srv", "C:data", `C:\..\x`, "/" + strings.Repeat("x", 1024)} {
		if err := Validate(of([]string{bad}, api.CapSFTP)); err == nil || !strings.Contains(err.Error(), "is no folder") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for want, p := range map[string]api.Policy{
		"does not grant":                   of([]string{"/srv"}, api.CapForwardLocal),
		`grants "shell", which`:            of([]string{"/srv"}, api.CapSFTP, api.CapShell),
		`grants "exec", which`:             of([]string{"/srv"}, api.CapSFTPRead, api.CapExec),
		`does not grant "sftp"`:            of([]string{"/srv"}), // the defaults have a shell
		"names more than 32 folders":       of(slices.Repeat([]string{"/srv"}, 33), api.CapSFTP),
		"a policy that denies has no cond": func() api.Policy { p := of([]string{"/srv"}); p.Deny = true; return p }(),
	} {
		if err := Validate(p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %s, got %v", want, err)
		}
	}
}
