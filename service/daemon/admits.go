package daemon

import (
	"fmt"
	"strings"

	"lanyard/mgmt/api"
)

// maxAdmits bounds what a person is shown of the rules before they open a machine.
const maxAdmits = 4

// admits says in words whom the rules of m let in on this machine, leaving out what narrows them.
func admits(m *api.Map) []string {
	var out []string
	for i, r := range m.Rules {
		if r.Deny {
			continue
		}
		if len(out) == maxAdmits {
			return append(out, fmt.Sprintf("and %d more policies", len(m.Rules)-i))
		}
		if who := whom(m, r); who != "" {
			out = append(out, who+" as "+strings.Join(r.As, ", "))
		}
	}
	return out
}

func whom(m *api.Map, r api.Rule) string {
	if r.OwnerOnly {
		return "its owner"
	}
	var who []string
	if r.Everyone {
		who = append(who, "everyone")
	}
	for _, g := range r.Groups {
		who = append(who, "the group "+g.Name)
	}
	for _, u := range r.Users {
		who = append(who, nameOf(m, u))
	}
	for _, x := range r.Machines {
		name := x.Peer
		for _, p := range m.Peers {
			if p.ID == x.Peer {
				name = p.Name
			}
		}
		who = append(who, api.MachineUser(name, x.Account))
	}
	return strings.Join(who, ", ")
}

func nameOf(m *api.Map, ref api.UserRef) string {
	for _, u := range m.Users {
		if u.UserRef == ref && u.Email != "" {
			return u.Email
		}
	}
	return ref.Subject
}
