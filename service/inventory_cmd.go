package main

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"lanyard/service/ipc"
)

// hostVars are what Ansible is told of a machine. How it is reached stands in the ssh configuration already.
type hostVars struct {
	Host string `json:"ansible_host"`
	User string `json:"ansible_user,omitempty"`
	ID   string `json:"lanyard_id"`
	OS   string `json:"lanyard_os,omitempty"`
	Addr string `json:"lanyard_address"`
}

type hostGroup struct {
	Hosts []string `json:"hosts"`
}

func inventoryCommand() *cobra.Command {
	var host string
	c := &cobra.Command{
		Use:   "inventory",
		Short: "List the machines for Ansible, as a dynamic inventory",
		Long: "Prints the machines that serve SSH and that a policy connects with this one, as Ansible's dynamic inventory,\n" +
			"with a group for each tag (tag:web is tag_web) and each system (os_linux). To have it run by Ansible, put\n" +
			"a script into its inventory folder:\n\n  #!/bin/sh\n  exec lanyard inventory \"$@\"",
		Example: "  lanyard inventory --list\n  ansible -i ./lanyard-inventory tag_web -m ping",
		Args:    cobra.NoArgs,
	}
	c.Flags().StringVar(&host, "host", "", "print the variables of one `machine`")
	c.Flags().Bool("list", true, "print all machines")
	c.RunE = func(c *cobra.Command, _ []string) error {
		d, err := dial(c)
		if err != nil {
			return err
		}
		defer d.Close()
		st, err := d.Status(c.Context())
		if err != nil {
			return err
		}
		enc := json.NewEncoder(c.OutOrStdout())
		enc.SetIndent("", "  ")
		groups, vars := inventory(st.Peers)
		if c.Flags().Changed("host") {
			v, ok := vars[host]
			if !ok {
				return enc.Encode(struct{}{}) // as Ansible wants it
			}
			return enc.Encode(v)
		}
		groups["_meta"] = map[string]any{"hostvars": vars}
		return enc.Encode(groups)
	}
	return c
}

// noWord is what cannot stand in the name of an Ansible group.
var noWord = regexp.MustCompile(`[^A-Za-z0-9_]`)

// word is what a variable may hold that others chose: a machine says itself what system it is, and the management server
// names the accounts. Ansible takes a variable for a template, and runs what stands in it on this machine. The
// longest is a full name of the DNS, of 253 characters.
var word = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@\\+-]{0,252}$`)

func orNothing(s string) string {
	if word.MatchString(s) {
		return s
	}
	return ""
}

func inventory(peers []ipc.Peer) (groups map[string]any, vars map[string]hostVars) {
	groups, vars = map[string]any{}, map[string]hostVars{}
	byGroup := map[string][]string{"lanyard": {}}
	for _, p := range peers {
		if !p.ServesSSH || orNothing(p.Name) == "" || orNothing(p.Host()) == "" {
			continue
		}
		vars[p.Name] = hostVars{Host: p.Host(), User: orNothing(p.LoginAs), ID: orNothing(p.ID), OS: orNothing(p.OS), Addr: p.Addr4.String()}
		names := []string{"lanyard"}
		for _, t := range p.Tags {
			names = append(names, "tag_"+noWord.ReplaceAllString(strings.TrimPrefix(t, "tag:"), "_"))
		}
		if p.OS != "" {
			names = append(names, "os_"+noWord.ReplaceAllString(p.OS, "_"))
		}
		for _, g := range names {
			if !slices.Contains(byGroup[g], p.Name) {
				byGroup[g] = append(byGroup[g], p.Name)
			}
		}
	}
	for g, hosts := range byGroup {
		slices.Sort(hosts)
		groups[g] = hostGroup{Hosts: hosts}
	}
	return groups, vars
}
