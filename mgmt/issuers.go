package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"lanyard/mgmt/api"
)

// issuer is what the server tells of an identity provider.
type issuer struct {
	URL          string      `json:"url"`
	Name         string      `json:"name"`
	ClientID     string      `json:"client_id"`
	Embedded     bool        `json:"embedded,omitempty"`
	GroupsClaim  string      `json:"groups_claim,omitempty"`
	IATBackdate  api.Seconds `json:"iat_backdate,omitempty"`
	EmailDomains []string    `json:"email_domains,omitempty"`
	Keys         []struct {
		KID   string `json:"kid,omitempty"`
		ID    string `json:"id"`
		State string `json:"state"`
	} `json:"keys"`
	Seen    time.Time `json:"seen,omitzero"`
	Problem string    `json:"problem,omitempty"`
}

func (a *app) issuerCommand() *cobra.Command {
	c := &cobra.Command{Use: "issuer", Short: "Identity providers beside the embedded one"}
	c.AddCommand(a.issuerAdd(), a.issuerList(), a.issuerRemove(), a.issuerDistrust())
	return c
}

func (a *app) issuerAdd() *cobra.Command {
	var in struct {
		URL          string      `json:"url"`
		Name         string      `json:"name,omitempty"`
		ClientID     string      `json:"client_id"`
		Scopes       []string    `json:"scopes,omitempty"`
		GroupsClaim  string      `json:"groups_claim,omitempty"`
		IATBackdate  api.Seconds `json:"iat_backdate,omitempty"`
		EmailDomains []string    `json:"email_domains,omitempty"`
	}
	var backdate time.Duration
	c := &cobra.Command{
		Use: "add URL", Short: "Add or change an identity provider", Args: cobra.ExactArgs(1),
		Long: `Add or change an OpenID provider whose tokens the machines take directly.

Register Lanyard there as a public (native) client with PKCE and the redirect http://127.0.0.1/callback on any port. The
provider must put the request's nonce into its ID tokens.`,
		Example: `  lanyard-mgmt issuer add https://id.example.com/realms/work --client-id lanyard --groups-claim realm_access.roles
  lanyard-mgmt policy add web --from group:web@https://id.example.com/realms/work --to tag:web --as deploy`,
		RunE: func(cmd *cobra.Command, args []string) error {
			in.URL, in.IATBackdate = args[0], api.Secs(backdate)
			var out struct {
				Object issuer     `json:"object"`
				Effect api.Effect `json:"effect"`
			}
			if err := a.call(cmd.Context(), http.MethodPost, "/api/admin/issuers", in, &out); err != nil {
				return err
			}
			if a.json {
				return a.print(cmd, out, nil)
			}
			return a.printEffect(cmd, fmt.Sprintf("%s is trusted, with %d keys.", out.Object.URL, len(out.Object.Keys)), out.Effect)
		},
	}
	f := c.Flags()
	f.StringVar(&in.ClientID, "client-id", "", "`id` that the provider has for Lanyard")
	f.StringVar(&in.Name, "name", "", "`name` for people")
	f.StringSliceVar(&in.Scopes, "scopes", nil, "`scopes` to ask for (default openid,email,profile,offline_access)")
	f.StringVar(&in.GroupsClaim, "groups-claim", "", "`claim` with the person's groups, as in realm_access.roles (default groups)")
	f.DurationVar(&backdate, "iat-backdate", 0, "`time` by which the provider backdates its tokens, at most 10m")
	f.StringSliceVar(&in.EmailDomains, "email-domains", nil, "`domains` whose addresses this provider may speak for")
	_ = c.MarkFlagRequired("client-id")
	return c
}

func (a *app) issuerList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List identity providers and their keys", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all []issuer
			if err := a.call(cmd.Context(), http.MethodGet, "/api/admin/issuers", nil, &all); err != nil {
				return err
			}
			return a.print(cmd, all, func(w io.Writer) {
				var rows [][]string
				for _, is := range all {
					what := "client " + clean(is.ClientID)
					switch {
					case is.Embedded:
						what = "embedded"
					case is.Problem != "":
						what += "; since " + when(is.Seen) + " no answer: " + clean(is.Problem)
					}
					rows = append(rows, []string{is.URL, what, "", ""})
					for _, k := range is.Keys {
						rows = append(rows, []string{"", "key " + clean(k.KID), k.State, k.ID})
					}
				}
				table(w, []string{"ISSUER", "", "STATE", "THUMBPRINT"}, rows)
			})
		},
	}
}

func (a *app) issuerRemove() *cobra.Command {
	return &cobra.Command{
		Use: "remove URL", Short: "Remove an identity provider; sessions of its people end", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var e api.Effect
			if err := a.call(cmd.Context(), http.MethodDelete, "/api/admin/issuers?url="+url.QueryEscape(args[0]), nil, &e); err != nil {
				return err
			}
			return a.printEffect(cmd, args[0]+" is not trusted any more.", e)
		},
	}
}

func (a *app) issuerDistrust() *cobra.Command {
	in := struct {
		Key    string `json:"key"`
		Issuer string `json:"issuer,omitempty"`
	}{}
	c := &cobra.Command{
		Use: "distrust KEY", Short: "Distrust a key now, for good; sessions that depend on it end", Args: cobra.ExactArgs(1),
		Long: "Distrust a key of an identity provider, by its kid or thumbprint as 'issuer list' shows them. Every login that it\nvouched for is over: those people sign in again.",
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Key = args[0]
			var e api.Effect
			if err := a.call(cmd.Context(), http.MethodPost, "/api/admin/issuers/distrust", in, &e); err != nil {
				return err
			}
			return a.printEffect(cmd, "The key is not trusted any more.", e)
		},
	}
	c.Flags().StringVar(&in.Issuer, "issuer", "", "`URL` of the provider, where several have a key of that kid")
	return c
}
