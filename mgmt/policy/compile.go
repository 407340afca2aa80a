package policy

import (
	"slices"
	"strings"

	"lanyard/mgmt/api"
)

// Compile makes the rules that self must enforce as a server peer, in the order of the policies. Entries that
// name nobody (a user, peer or tag that does not exist) drop out; a policy that then names nobody does too.
func Compile(w *World, policies []api.Policy, self api.Peer) []api.Rule {
	var rules []api.Rule
	for _, p := range policies {
		if r, ok := compileOne(w, p, self); ok {
			rules = append(rules, r)
		}
	}
	return rules
}

func compileOne(w *World, p api.Policy, self api.Peer) (api.Rule, bool) {
	to, ownOnly := aimsAt(p.To, self)
	if p.Disabled || !to {
		return api.Rule{}, false
	}
	r := api.Rule{ID: p.ID, Name: p.Name, Deny: p.Deny, OwnerOnly: ownOnly, As: slices.Clone(p.As), Conditions: p.Conditions}
	r.Prompt = prompts(w, p.Prompt)
	for _, entry := range p.From {
		f, err := parseFrom(entry)
		if err != nil {
			continue // Validate refused it; a rule must not widen by it
		}
		addSubjects(&r, w, f)
	}
	if ownOnly {
		// A machine owns nothing.
		r.Machines = nil
	}
	return r, r.Everyone || len(r.Users)+len(r.Groups)+len(r.Machines) > 0
}

// prompts puts the machines of a tag in its place: a server peer is not told the tags of others.
func prompts(w *World, entries []string) (out []string) {
	for _, s := range entries {
		if !strings.HasPrefix(s, "tag:") {
			out = appendNew(out, s)
			continue
		}
		for _, peer := range w.Peers {
			if slices.Contains(peer.Tags, s) {
				out = appendNew(out, "peer:"+peer.ID)
			}
		}
	}
	return out
}

// aimsAt reports whether one of to is self, and whether only because self has an owner.
func aimsAt(to []string, self api.Peer) (ok, ownOnly bool) {
	for _, t := range to {
		id, isPeer := strings.CutPrefix(t, "peer:")
		switch {
		case t == toAll, isPeer && id == self.ID, strings.HasPrefix(t, "tag:") && slices.Contains(self.Tags, t):
			return true, false
		case t == toOwn && !self.Owner.IsZero():
			ok, ownOnly = true, true
		}
	}
	return ok, ownOnly
}

func addSubjects(r *api.Rule, w *World, f from) {
	switch {
	case f.everyone:
		r.Everyone = true
	case f.user != "":
		for _, u := range w.Users {
			if u.ID == f.user || u.Email != "" && strings.EqualFold(u.Email, f.user) {
				r.Users = appendNew(r.Users, u.Ref)
			}
		}
	case f.group.Name != "":
		// A group that nobody is in yet may stand in tomorrow's token.
		r.Groups = appendNew(r.Groups, f.group)
	case f.peer != "":
		for _, peer := range w.Peers {
			if peer.ID == f.peer {
				r.Machines = appendNew(r.Machines, api.MachineRef{Peer: peer.ID, Account: f.account})
			}
		}
	case f.tag != "":
		for _, peer := range w.Peers {
			if slices.Contains(peer.Tags, f.tag) {
				r.Machines = appendNew(r.Machines, api.MachineRef{Peer: peer.ID, Account: f.account})
			}
		}
	}
}

func appendNew[T comparable](list []T, v T) []T {
	if slices.Contains(list, v) {
		return list
	}
	return append(list, v)
}

// Connected reports whether a may open connections to b's port 22: some person or account on a might be let in.
// A person may sit at any machine, so a rule for people connects all, unless it demands their own device. Deny
// rules count at the decision only.
func Connected(w *World, policies []api.Policy, a, b api.Peer) bool {
	if a.ID == b.ID {
		return false
	}
	for _, r := range Compile(w, policies, b) {
		if !r.Deny && connects(w, r, a, b) {
			return true
		}
	}
	return false
}

func connects(w *World, r api.Rule, a, b api.Peer) bool {
	for _, m := range r.Machines {
		// A rule that demands the person's own device is out of reach for machines.
		if m.Peer == a.ID && !r.OwnDevice {
			return true
		}
	}
	people := w.Users
	if r.OwnDevice {
		people = slices.DeleteFunc(slices.Clone(people), func(u User) bool { return u.Ref != a.Owner })
	}
	if r.OwnerOnly {
		people = slices.DeleteFunc(slices.Clone(people), func(u User) bool { return u.Ref != b.Owner })
	}
	for _, u := range people {
		// Groups may stand in a token that the management server has not seen.
		if !u.Blocked && (len(r.Groups) > 0 || namesPerson(r, u.Ref, u.Groups)) {
			return true
		}
	}
	// People of direct issuers are unknown until they came once.
	return !r.OwnDevice && !r.OwnerOnly && (r.Everyone || len(r.Groups) > 0)
}

func namesPerson(r api.Rule, ref api.UserRef, groups []api.GroupRef) bool {
	if ref.IsZero() {
		return false
	}
	if r.Everyone || slices.Contains(r.Users, ref) {
		return true
	}
	return slices.ContainsFunc(r.Groups, func(g api.GroupRef) bool { return slices.Contains(groups, g) })
}

// Reach lists the machines that user may reach, and as whom, in the order of the world's peers. Groups are added
// to the user's own. Conditions (own device, acr, times) are left to the decision.
func Reach(w *World, policies []api.Policy, user User, groups []api.GroupRef) []api.Reach {
	if user.Blocked {
		return nil
	}
	groups = slices.Concat(user.Groups, groups)
	local := emailLocalPart(user.Email)
	var reach []api.Reach
	for _, peer := range w.Peers {
		var as, denied []string
		for _, r := range Compile(w, policies, peer) {
			if r.OwnerOnly && peer.Owner != user.Ref || !namesPerson(r, user.Ref, groups) {
				continue
			}
			if r.Deny {
				denied = append(denied, r.As...)
				continue
			}
			for _, a := range r.As {
				if a == emailLocal {
					a = local
				}
				if a != "" {
					as = appendNew(as, a)
				}
			}
		}
		as = slices.DeleteFunc(as, func(a string) bool {
			return slices.ContainsFunc(denied, func(d string) bool {
				return d == anyAccount || d == a || d == emailLocal && a == local
			})
		})
		if len(as) > 0 {
			reach = append(reach, api.Reach{Peer: peer.ID, Name: peer.Name, As: as})
		}
	}
	return reach
}

// LoginAs is the one account that rules leave to everyone whom they admit, for ssh's User, or "".
func LoginAs(rules []api.Rule) string {
	var only string
	for _, r := range rules {
		if r.Deny {
			continue
		}
		for _, a := range r.As {
			if a == anyAccount || a == emailLocal || only != "" && only != a {
				return ""
			}
			only = a
		}
	}
	return only
}

// MachineAccounts lists the local accounts on the peer whom rules, those of one server peer, let in without a person,
// in the order of the alphabet. Rules with conditions that no machine meets do not count; deny rules do at the
// decision only.
func MachineAccounts(rules []api.Rule, peer string) []string {
	var names []string
	for _, r := range rules {
		if r.Deny || r.OwnerOnly || r.OwnDevice || len(r.ACR)+len(r.AMR) > 0 {
			continue
		}
		for _, m := range r.Machines {
			if m.Peer == peer {
				names = appendNew(names, m.Account)
			}
		}
	}
	slices.Sort(names)
	return names
}

// AnyProcess reports whether one of rules, those of one server peer, lets in whoever can run a program on the peer.
func AnyProcess(rules []api.Rule, peer string) bool {
	return slices.ContainsFunc(rules, func(r api.Rule) bool {
		return r.AnyProcess && !r.Deny && !r.OwnDevice && slices.ContainsFunc(r.Machines, func(m api.MachineRef) bool { return m.Peer == peer })
	})
}
