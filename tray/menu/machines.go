package menu

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"lanyard/service/ipc"
)

// maxMachines bounds a submenu: a longer one leaves the screen.
const maxMachines = 30

// reachable are the machines that ssh reaches, those that are online first.
func reachable(s State) []ipc.Peer {
	if s.Status == nil {
		return nil
	}
	var all []ipc.Peer
	for _, p := range s.Status.Peers {
		if p.ServesSSH {
			all = append(all, p)
		}
	}
	slices.SortStableFunc(all, func(a, b ipc.Peer) int {
		if x, y := online(a, s.Now), online(b, s.Now); x != y {
			if x {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all
}

func online(p ipc.Peer, now time.Time) bool {
	is, _ := p.IsOnline(now)
	return is
}

// presence is what is known of a machine's being there.
func presence(p ipc.Peer, now time.Time) string {
	is, known := p.IsOnline(now)
	heard := ""
	if !p.Handshake.IsZero() {
		heard = "last heard " + clock(p.Handshake, now)
	}
	switch {
	case is:
		return "  (online)"
	case known && heard != "":
		return "  (offline, " + heard + ")"
	case known:
		return "  (offline)"
	case heard != "":
		return "  (" + heard + ")"
	}
	return ""
}

// SSHName is what ssh on this machine calls p.
func SSHName(p ipc.Peer) string { return p.Host() }

func machines(s State, verb Verb) []Row {
	all := reachable(s)
	var rows []Row
	for i, p := range all {
		if i == maxMachines {
			rows = append(rows, Row{Title: fmt.Sprintf("and %d more: lanyard status", len(all)-i), Disabled: true})
			break
		}
		name := SSHName(p)
		r := Row{Title: safe(name), Action: Action{verb, name}}
		if verb == Copy {
			r.Title, r.Action.Arg = "ssh "+safe(name), "ssh "+name
		} else {
			r.Title += presence(p, s.Now)
		}
		rows = append(rows, r)
	}
	if len(rows) == 0 {
		rows = []Row{{Title: "No policy gives you a machine yet", Disabled: true}}
	}
	return rows
}
