package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/store"
)

type peer struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	ShortName bool      `json:"short_name"`
	Addr4     string    `json:"addr4"`
	Addr6     string    `json:"addr6"`
	Owner     string    `json:"owner,omitempty"`
	Tags      []string  `json:"tags"`
	ServesSSH bool      `json:"serves_ssh"`
	OS        string    `json:"os,omitempty"`
	Release   string    `json:"release,omitempty"`
	Online    bool      `json:"online"`
	Created   time.Time `json:"created"`
	LastSeen  time.Time `json:"last_seen,omitzero"`
}

func (a *app) peerCommand() *cobra.Command {
	c := &cobra.Command{Use: "peer", Short: "Machines"}
	c.AddCommand(&cobra.Command{
		Use: "list", Short: "List machines", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var peers []peer
			if err := a.call(cmd.Context(), http.MethodGet, "/api/admin/peers", nil, &peers); err != nil {
				return err
			}
			return a.print(cmd, peers, func(w io.Writer) {
				var rows [][]string
				for _, p := range peers {
					seen := "online"
					if !p.Online {
						seen = when(p.LastSeen)
					}
					name := p.Name
					if !p.ShortName {
						name += " (short name not approved)"
					}
					rows = append(rows, []string{name, p.Addr4, p.Owner, strings.Join(p.Tags, " "), p.OS, seen, p.ID})
				}
				table(w, []string{"NAME", "ADDRESS", "OWNER", "TAGS", "SYSTEM", "SEEN", "ID"}, rows)
			})
		},
	}, &cobra.Command{
		Use: "remove NAME", Short: "Remove a machine: its sessions end, and the sign-ins that were made on it", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var e api.Effect
			if err := a.call(cmd.Context(), http.MethodDelete, "/api/admin/peers/"+esc(args[0]), nil, &e); err != nil {
				return err
			}
			return a.printEffect(cmd, args[0]+" is removed.", e)
		},
	}, &cobra.Command{
		Use: "lost NAME", Args: cobra.ExactArgs(1),
		Short: "A machine is lost or stolen: take it, its sessions and the sign-ins on it out of the network, and tell what ended",
		RunE: func(cmd *cobra.Command, args []string) error {
			var out struct {
				Object struct {
					ID     string            `json:"id"`
					Name   string            `json:"name"`
					Owner  string            `json:"owner,omitempty"`
					Logins []store.LostLogin `json:"logins"`
				} `json:"object"`
				Effect api.Effect `json:"effect"`
			}
			if err := a.call(cmd.Context(), http.MethodPost, "/api/admin/peers/"+esc(args[0])+"/lost", nil, &out); err != nil {
				return err
			}
			if a.json {
				return a.print(cmd, out, nil)
			}
			return a.printEffect(cmd, lostStory(out.Object.Name, out.Object.Logins, out.Effect), out.Effect)
		},
	}, &cobra.Command{
		Use: "approve NAME", Short: "Let the bare name be used, not only NAME.lanyard.internal", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changePeer(cmd, args[0], map[string]any{"short_name": true}, args[0]+" may be called by its bare name.")
		},
	}, &cobra.Command{
		Use: "rename NAME NEW", Short: "Give a machine another name", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changePeer(cmd, args[0], map[string]any{"name": args[1]}, args[0]+" is now called "+args[1]+".")
		},
	}, &cobra.Command{
		Use: "tag NAME [tag:NAME...]", Short: "Set a machine's tags", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changePeer(cmd, args[0], map[string]any{"tags": args[1:]}, "The tags of "+args[0]+" have changed.")
		},
	}, &cobra.Command{
		Use: "owner NAME [EMAIL]", Short: "Set whose a machine is", Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			owner := strings.Join(args[1:], "")
			return a.changePeer(cmd, args[0], map[string]any{"owner": owner}, "The owner of "+args[0]+" has changed.")
		},
	})
	return c
}

// lostStory tells what went with a machine.
func lostStory(name string, logins []store.LostLogin, e api.Effect) string {
	whose, on := map[string]int{}, map[string]bool{}
	for _, l := range logins {
		whose[clean(l.User)]++
	}
	for _, s := range e.Ended {
		on[s.Peer] = true
	}
	story := fmt.Sprintf("%s is out of the network: where this is in force its key opens no tunnel any more. Sign-ins that ended with it: %d", name, len(logins))
	if len(whose) > 0 {
		story += " (" + strings.Join(slices.Sorted(maps.Keys(whose)), ", ") + ")"
	}
	return story + fmt.Sprintf(". Sessions that ended: %d, on %d machines.", len(e.Ended), len(on))
}

func (a *app) changePeer(cmd *cobra.Command, name string, in map[string]any, done string) error {
	var out struct {
		Object peer       `json:"object"`
		Effect api.Effect `json:"effect"`
	}
	if err := a.call(cmd.Context(), http.MethodPatch, "/api/admin/peers/"+esc(name), in, &out); err != nil {
		return err
	}
	if a.json {
		return a.print(cmd, out, nil)
	}
	return a.printEffect(cmd, done, out.Effect)
}

func (a *app) auditCommand() *cobra.Command {
	var follow bool
	var limit int
	c := &cobra.Command{
		Use: "audit", Short: "Show the audit log", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			after := int64(-1)
			wait := 0
			all := limit == 0
			if all {
				after, limit = 0, 1000
			}
			for {
				var events []store.Recorded
				path := fmt.Sprintf("/api/admin/audit?after=%d&limit=%d&wait=%d", after, limit, wait)
				if err := a.call(cmd.Context(), http.MethodGet, path, nil, &events); err != nil {
					if follow && cmd.Context().Err() != nil {
						return nil //nolint:nilerr // the person pressed Ctrl-C
					}
					return err
				}
				for _, e := range events {
					after = e.Seq
					if err := a.printEvent(cmd.OutOrStdout(), e); err != nil {
						return err
					}
				}
				if all && len(events) > 0 {
					continue
				}
				if !follow {
					return nil
				}
				after = max(after, 0)
				wait = 20
			}
		},
	}
	c.AddCommand(&cobra.Command{
		Use: "verify", Short: "Check that no event of a machine was changed or taken out", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all []audit.Event
			for after := int64(0); ; {
				var events []store.Recorded
				if err := a.call(cmd.Context(), http.MethodGet, fmt.Sprintf("/api/admin/audit?after=%d&limit=1000", after), nil, &events); err != nil {
					return err
				}
				if len(events) == 0 {
					break
				}
				for _, e := range events {
					after = e.Seq
					all = append(all, e.Event)
				}
			}
			broken, err := audit.CheckChain(all)
			if err != nil {
				return err
			}
			if len(broken) > 0 {
				return errors.New(strings.Join(broken, "\n"))
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d events, each where its machine put it.\n", len(all))
			return nil
		},
	})
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on showing events as they arrive")
	c.Flags().IntVarP(&limit, "limit", "n", 200, "how many of the newest `events`; 0: all")
	return c
}

// printEvent writes one line; with --json the event as it is stored.
func (a *app) printEvent(w io.Writer, e store.Recorded) error {
	if a.json {
		return json.NewEncoder(w).Encode(e)
	}
	parts := []string{when(e.Time), string(e.Type)}
	for _, f := range []struct{ name, value string }{
		{"user", e.User},
		{"what", e.What},
		{"target", e.Target},
		{"as", e.LocalUser},
		{"peer", e.Peer},
		{"from", e.Source},
		{"session", e.Session},
		{"command", e.Command},
		{"reason", string(e.Reason)},
		{"detail", e.Detail},
	} {
		if f.value != "" {
			parts = append(parts, f.name+"="+clean(f.value))
		}
	}
	_, err := fmt.Fprintln(w, strings.Join(parts, " "))
	return err
}

func (a *app) explainCommand() *cobra.Command {
	var in api.ExplainRequest
	c := &cobra.Command{
		Use: "explain EMAIL|machine:NAME/ACCOUNT ACCOUNT@MACHINE", Short: "Say whether a person, or a machine's account, is let in as an account, and why", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			account, target, ok := strings.Cut(args[1], "@")
			if !ok {
				return fmt.Errorf("%q must be ACCOUNT@MACHINE", args[1])
			}
			in.User, in.Account, in.Target = args[0], account, target
			var out api.ExplainReply
			if err := a.call(cmd.Context(), http.MethodPost, "/api/admin/explain", in, &out); err != nil {
				return err
			}
			return a.print(cmd, out, func(w io.Writer) {
				fmt.Fprintf(w, "%s [%s]\n", out.Message, out.Code)
				for _, s := range out.Steps {
					fmt.Fprintln(w, "  "+clean(s))
				}
			})
		},
	}
	c.Flags().StringVar(&in.Source, "source", "", "the `machine` that the person comes from")
	return c
}

func (a *app) restoredCommand() *cobra.Command {
	return &cobra.Command{
		Use: "restored", Short: "After the database was restored from a backup: let machines accept its older state", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.call(cmd.Context(), http.MethodPost, "/api/admin/restored", nil, nil)
		},
	}
}
