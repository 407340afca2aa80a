package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lanyard/mgmt/api"
	"lanyard/mgmt/store"
)

func (a *app) policyCommand() *cobra.Command {
	c := &cobra.Command{Use: "policy", Short: "Who may go where, as whom"}
	c.AddCommand(a.policyAdd(), a.policyList(), &cobra.Command{
		Use: "remove NAME", Short: "Remove a policy", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var e api.Effect
			if err := a.call(cmd.Context(), http.MethodDelete, "/api/admin/policies/"+esc(args[0]), nil, &e); err != nil {
				return err
			}
			return a.printEffect(cmd, "The policy "+args[0]+" is gone.", e)
		},
	})
	return c
}

func (a *app) policyAdd() *cobra.Command {
	var p api.Policy
	var can []string
	var age, session, idle time.Duration
	c := &cobra.Command{
		Use: "add NAME", Short: "Make or replace a policy", Args: cobra.ExactArgs(1),
		Example: `  lanyard-mgmt policy add web --from group:web --to tag:web --as deploy
  lanyard-mgmt policy add mine --from everyone --to own --as '{email.local}'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, x := range can {
				p.Can = append(p.Can, api.Capability(x))
			}
			p.MaxTokenAge, p.MaxSession, p.Idle = api.Secs(age), api.Secs(session), api.Secs(idle)
			in := struct {
				Disabled bool     `json:"disabled,omitempty"`
				Deny     bool     `json:"deny,omitempty"`
				From     []string `json:"from"`
				To       []string `json:"to"`
				As       []string `json:"as"`
				api.Conditions
			}{p.Disabled, p.Deny, p.From, p.To, p.As, p.Conditions}
			var out struct {
				Object api.Policy `json:"object"`
				Effect api.Effect `json:"effect"`
			}
			if err := a.call(cmd.Context(), http.MethodPut, "/api/admin/policies/"+esc(args[0]), in, &out); err != nil {
				return err
			}
			if a.json {
				return a.print(cmd, out, nil)
			}
			return a.printEffect(cmd, "The policy "+args[0]+" is in force.", out.Effect)
		},
	}
	f := c.Flags()
	f.StringSliceVar(&p.From, "from", nil, "`who`: user:EMAIL, group:NAME, group:NAME@ISSUER, machine:NAME/ACCOUNT, tag:NAME/ACCOUNT, everyone")
	f.StringSliceVar(&p.To, "to", nil, "`where`: peer:NAME, tag:NAME, own, all")
	f.StringSliceVar(&p.As, "as", nil, "local `accounts`; {email.local}; * for any but administrators and system accounts")
	f.StringSliceVar(&can, "can", nil, "`what`: shell, exec, pty, sftp, sftp-read, forward-local, forward-remote, sockets, agent, x11")
	f.StringSliceVar(&p.ForwardTo, "forward-to", nil, "forward `destinations`, HOST:PORT")
	f.StringSliceVar(&p.Listen, "listen", nil, "where forwards back (ssh -R) may `listen`, ADDRESS:PORT (default: loopback)")
	f.StringSliceVar(&p.SFTPPaths, "sftp-path", nil, "`folders` that file transfer is limited to, such as /srv/www or ~/in; not with shell or exec")
	f.BoolVar(&p.OwnDevice, "own-device", false, "only from the person's own machines")
	f.StringSliceVar(&p.Prompt, "prompt", nil, "`whence` people may sign in for one session at ssh's prompt, without Lanyard's certificate: own, peer:NAME, tag:NAME")
	f.StringSliceVar(&p.ACR, "acr", nil, "one of these sign-in `levels` (acr)")
	f.StringSliceVar(&p.AMR, "amr", nil, "one of these sign-in `methods` (amr)")
	f.DurationVar(&age, "max-token-age", 0, "longest `time` since the sign-in was renewed (default 1h)")
	f.DurationVar(&session, "max-session", 0, "longest session `time`")
	f.DurationVar(&idle, "idle", 0, "longest `time` without input or output")
	f.IntVar(&p.FileEvents, "file-events", 0, "how `many` operations on files of a connection are recorded one by one, the rest counted (default 1000)")
	f.BoolVar(&p.OfflineForever, "offline-forever", false, "keep the rule however long the management server is away (break-glass)")
	f.BoolVar(&p.AnyProcess, "any-process", false, "let any program on a named machine in, without a certificate")
	f.BoolVar(&p.Deny, "deny", false, "refuse instead, whatever other policies allow")
	f.BoolVar(&p.Disabled, "disabled", false, "keep it without effect")
	for _, name := range []string{"from", "to", "as"} {
		c.MarkFlagRequired(name)
	}
	return c
}

func (a *app) policyList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List policies", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var policies []api.Policy
			if err := a.call(cmd.Context(), http.MethodGet, "/api/admin/policies", nil, &policies); err != nil {
				return err
			}
			return a.print(cmd, policies, func(w io.Writer) {
				var rows [][]string
				for _, p := range policies {
					name := p.Name
					if p.Deny {
						name += " (deny)"
					}
					if p.Disabled {
						name += " (off)"
					}
					from := strings.Join(p.From, " ")
					if p.AnyProcess {
						from += " (anyone who can run a program there)"
					}
					if len(p.Prompt) > 0 {
						from += " (also at ssh's prompt: " + strings.Join(p.Prompt, " ") + ")"
					}
					may := p.Can
					if len(may) == 0 && !p.Deny {
						may = api.DefaultCapabilities()
					}
					var can []string
					for _, c := range may {
						can = append(can, string(c))
					}
					rows = append(rows, []string{name, from, strings.Join(p.To, " "), strings.Join(p.As, " "), strings.Join(can, " ")})
				}
				table(w, []string{"POLICY", "FROM", "TO", "AS", "CAN"}, rows)
			})
		},
	}
}

func (a *app) setupKeyCommand() *cobra.Command {
	c := &cobra.Command{Use: "setup-key", Short: "Secrets that enrol machines without a person"}
	var tags []string
	var uses int
	var expires time.Duration
	add := &cobra.Command{
		Use: "new", Short: "Make a setup key and print it once", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in := map[string]any{"tags": tags, "uses": uses, "expires": api.Secs(expires)}
			var out struct {
				Key  string         `json:"key"`
				Info store.SetupKey `json:"info"`
			}
			if err := a.call(cmd.Context(), http.MethodPost, "/api/admin/setup-keys", in, &out); err != nil {
				return err
			}
			return a.print(cmd, out, func(w io.Writer) { fmt.Fprintln(w, out.Key) })
		},
	}
	add.Flags().StringSliceVar(&tags, "tag", nil, "`tag:NAME` that the machine gets")
	add.Flags().IntVar(&uses, "uses", 1, "how many machines it enrols; -1: any `number`")
	add.Flags().DurationVar(&expires, "expires", 24*time.Hour, "`time` until it ends")
	c.AddCommand(add, &cobra.Command{
		Use: "list", Short: "List setup keys", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var keys []store.SetupKey
			if err := a.call(cmd.Context(), http.MethodGet, "/api/admin/setup-keys", nil, &keys); err != nil {
				return err
			}
			return a.print(cmd, keys, func(w io.Writer) {
				var rows [][]string
				for _, k := range keys {
					left := fmt.Sprint(k.UsesLeft)
					if k.UsesLeft < 0 {
						left = "any"
					}
					switch {
					case k.Revoked:
						left = "revoked"
					case !time.Now().Before(k.Expires):
						left = "expired"
					}
					rows = append(rows, []string{k.ID, strings.Join(k.Tags, " "), left, when(k.Expires)})
				}
				table(w, []string{"ID", "TAGS", "USES LEFT", "EXPIRES"}, rows)
			})
		},
	}, &cobra.Command{
		Use: "revoke ID", Short: "Revoke a setup key", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.call(cmd.Context(), http.MethodDelete, "/api/admin/setup-keys/"+esc(args[0]), nil, nil)
		},
	})
	return c
}

func (a *app) tokenCommand() *cobra.Command {
	c := &cobra.Command{Use: "token", Short: "Secrets for the admin API"}
	var scopes []string
	var expires time.Duration
	add := &cobra.Command{
		Use: "new NAME", Short: "Make an API token and print it once", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := map[string]any{"name": args[0], "scopes": scopes, "expires": api.Secs(expires)}
			var out struct {
				Token string      `json:"token"`
				Info  store.Token `json:"info"`
			}
			if err := a.call(cmd.Context(), http.MethodPost, "/api/admin/tokens", in, &out); err != nil {
				return err
			}
			return a.print(cmd, out, func(w io.Writer) { fmt.Fprintln(w, out.Token) })
		},
	}
	add.Flags().StringSliceVar(&scopes, "scope", nil, "`scopes`: admin, read, or users:read, users:write, groups:…, policies:…, setup-keys:…, peers:…, tokens:…, audit:…")
	add.Flags().DurationVar(&expires, "expires", 90*24*time.Hour, "`time` until it ends")
	add.MarkFlagRequired("scope")
	c.AddCommand(add, &cobra.Command{
		Use: "list", Short: "List API tokens", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var tokens []store.Token
			if err := a.call(cmd.Context(), http.MethodGet, "/api/admin/tokens", nil, &tokens); err != nil {
				return err
			}
			return a.print(cmd, tokens, func(w io.Writer) {
				var rows [][]string
				for _, t := range tokens {
					state := when(t.Expires)
					if t.Revoked {
						state = "revoked"
					}
					rows = append(rows, []string{t.ID, t.Name, strings.Join(t.Scopes, " "), state, when(t.LastUsed)})
				}
				table(w, []string{"ID", "NAME", "SCOPES", "EXPIRES", "LAST USED"}, rows)
			})
		},
	}, &cobra.Command{
		Use: "revoke ID", Short: "Revoke an API token", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.call(cmd.Context(), http.MethodDelete, "/api/admin/tokens/"+esc(args[0]), nil, nil)
		},
	})
	return c
}
