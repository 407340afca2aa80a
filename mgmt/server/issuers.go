package server

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"lanyard/mgmt/api"
	"lanyard/mgmt/idp/mirror"
	"lanyard/mgmt/store"
	"lanyard/sshd/token"
)

// issuers are all providers with the keys that maps carry: what an administrator distrusts is left out and named.
func (s *Server) issuers(ctx context.Context) ([]api.Issuer, error) {
	own, err := s.idp.Issuer(ctx)
	if err != nil {
		return nil, err
	}
	distrusted, err := s.store.Distrusted(ctx)
	if err != nil {
		return nil, err
	}
	all := append([]api.Issuer{own}, s.mirror.Issuers()...)
	for i := range all {
		is := &all[i]
		is.Distrusted = distrusted[is.URL]
		is.Keys, is.Withdrawn = without(is.Keys, is.Distrusted), without(is.Withdrawn, is.Distrusted)
	}
	return all, nil
}

func without(keys []json.RawMessage, distrusted []api.KeyRef) []json.RawMessage {
	if len(distrusted) == 0 {
		return keys
	}
	return slices.DeleteFunc(slices.Clone(keys), func(k json.RawMessage) bool {
		id, _, err := token.KeyID(k)
		return err != nil || slices.ContainsFunc(distrusted, func(d api.KeyRef) bool { return d.ID == id })
	})
}

// keysChanged is told that a provider has other keys than before. Until the server is open, its first maps are still
// to be made.
func (s *Server) keysChanged() {
	select {
	case <-s.opened:
		s.control.Touch()
	default:
	}
}

type issuerKey struct {
	KID   string `json:"kid,omitempty"`
	ID    string `json:"id" doc:"Thumbprint (RFC 7638), as limits.yaml pins it."`
	State string `json:"state" enum:"published,withdrawn,distrusted"`
}

type issuerView struct {
	URL          string      `json:"url"`
	Name         string      `json:"name"`
	ClientID     string      `json:"client_id"`
	Embedded     bool        `json:"embedded,omitempty"`
	GroupsClaim  string      `json:"groups_claim,omitempty"`
	IATBackdate  api.Seconds `json:"iat_backdate,omitempty"`
	EmailDomains []string    `json:"email_domains,omitempty"`
	Keys         []issuerKey `json:"keys"`
	Seen         time.Time   `json:"seen,omitzero" doc:"When it last answered."`
	Problem      string      `json:"problem,omitempty" doc:"Why it does not answer now."`
}

func viewIssuer(is api.Issuer, distrusted []api.KeyRef) issuerView {
	v := issuerView{
		URL: is.URL, Name: is.Name, ClientID: is.ClientID, Embedded: is.Embedded, GroupsClaim: is.GroupsClaim,
		IATBackdate: is.IATBackdate, EmailDomains: is.EmailDomains, Keys: []issuerKey{},
	}
	bad := map[string]bool{}
	for _, d := range distrusted {
		bad[d.ID] = true
		v.Keys = append(v.Keys, issuerKey{d.KID, d.ID, "distrusted"})
	}
	for state, keys := range map[string][]json.RawMessage{"published": is.Keys, "withdrawn": is.Withdrawn} {
		for _, k := range keys {
			if id, kid, err := token.KeyID(k); err == nil && !bad[id] {
				v.Keys = append(v.Keys, issuerKey{kid, id, state})
			}
		}
	}
	slices.SortFunc(v.Keys, func(a, b issuerKey) int {
		return slices.Compare([]string{a.State, a.KID, a.ID}, []string{b.State, b.KID, b.ID})
	})
	return v
}

type issuerInput struct {
	Body struct {
		URL          string      `json:"url" doc:"As the provider writes it in its tokens, byte for byte."`
		Name         string      `json:"name,omitempty"`
		ClientID     string      `json:"client_id" doc:"Of a public client (PKCE, loopback redirect)."`
		Scopes       []string    `json:"scopes,omitempty"`
		GroupsClaim  string      `json:"groups_claim,omitempty" doc:"Claim with the person's groups; empty: groups. A name with dots may be a path."`
		IATBackdate  api.Seconds `json:"iat_backdate,omitempty" minimum:"0" doc:"Seconds by which the provider backdates iat; at most 600."`
		EmailDomains []string    `json:"email_domains,omitempty" doc:"Domains whose addresses this provider may speak for."`
	}
}

type issuerQuery struct {
	URL string `query:"url" required:"true"`
}

type distrustInput struct {
	Body struct {
		Key    string `json:"key" doc:"kid or thumbprint"`
		Issuer string `json:"issuer,omitempty" doc:"URL, where several have such a kid."`
	}
}

func (s *Server) issuerOperations(a huma.API) {
	op(s, a, http.MethodGet, "/api/admin/issuers", "list-issuers", "List the identity providers with their keys", func(ctx context.Context, _ *none) (*body[[]issuerView], error) {
		distrusted, err := s.store.Distrusted(ctx)
		if err != nil {
			return nil, err
		}
		own, err := s.idp.Issuer(ctx)
		if err != nil {
			return nil, err
		}
		out := []issuerView{viewIssuer(own, distrusted[own.URL])}
		for _, st := range s.mirror.States() {
			v := viewIssuer(st.Issuer, distrusted[st.URL])
			v.Seen = st.Seen
			if st.Err != nil {
				v.Problem = st.Err.Error()
			}
			out = append(out, v)
		}
		return &body[[]issuerView]{out}, nil
	})
	op(s, a, http.MethodPost, "/api/admin/issuers", "put-issuer", "Add or change an identity provider, which must answer now", s.putIssuer)
	op(s, a, http.MethodDelete, "/api/admin/issuers", "remove-issuer", "Remove an identity provider and end the sessions of its people",
		func(ctx context.Context, in *issuerQuery) (*body[api.Effect], error) {
			err := s.store.Change(ctx, change(ctx, "issuer.remove", in.URL), func(q *store.Queries) error { return q.RemoveIssuer(ctx, in.URL) })
			if err != nil {
				return nil, named(err, "identity provider", in.URL)
			}
			s.mirror.Remove(in.URL)
			return s.apply(ctx)
		})
	op(s, a, http.MethodPost, "/api/admin/issuers/distrust", "distrust-key", "Distrust a key of an identity provider, and end the sessions that depend on it", s.distrust)
}

// maxBackdate is what a provider may be forgiven (sshd/token has the same bound).
const maxBackdate = api.Seconds(token.MaxIATBackdate / time.Second)

func (s *Server) putIssuer(ctx context.Context, in *issuerInput) (*effected[issuerView], error) {
	b := in.Body
	is := api.Issuer{
		URL: b.URL, Name: label(b.Name), ClientID: b.ClientID, Scopes: b.Scopes, GroupsClaim: b.GroupsClaim, IATBackdate: b.IATBackdate,
		EmailDomains: b.EmailDomains, LoginLifetime: api.Secs(s.settings.LoginLifetime),
	}
	switch err := mirror.CheckURL(is.URL); {
	case err != nil:
		return nil, refuse(http.StatusBadRequest, "%v.", err)
	case is.URL == s.settings.Issuer:
		return nil, refuse(http.StatusBadRequest, "%s is this server's own provider; it needs no adding.", is.URL)
	case is.ClientID == "" || len(is.ClientID) > 256:
		return nil, refuse(http.StatusBadRequest, "Name the client id that the provider has for Lanyard (--client-id).")
	case is.IATBackdate > maxBackdate:
		return nil, refuse(http.StatusBadRequest, "A provider may backdate its tokens by at most %s.", maxBackdate.Duration())
	case len(is.GroupsClaim) > 256 || len(is.EmailDomains) > 100 || len(is.Scopes) > 50:
		return nil, refuse(http.StatusBadRequest, "The provider's settings are too long.")
	}
	if is.Name == "" {
		is.Name = strings.TrimPrefix(is.URL, "https://")
	}
	keys, err := s.mirror.Find(ctx, is.URL)
	if err != nil {
		return nil, refuse(http.StatusBadGateway, "The identity provider cannot be added: %v.", err)
	}
	if err := s.store.Change(ctx, change(ctx, "issuer.put", is.URL), func(q *store.Queries) error { return q.PutIssuer(ctx, is) }); err != nil {
		return nil, err
	}
	if err := s.mirror.Put(ctx, is, keys); err != nil {
		return nil, err
	}
	out := &effected[issuerView]{}
	is.Keys = keys
	out.Body.Object = viewIssuer(is, nil)
	out.Body.Effect, err = s.control.Apply(ctx)
	return out, err
}

// distrust finds the key by its kid or thumbprint among all that were seen.
func (s *Server) distrust(ctx context.Context, in *distrustInput) (*body[api.Effect], error) {
	all, err := s.issuers(ctx)
	if err != nil {
		return nil, err
	}
	var issuer string
	var key api.KeyRef
	found, embedded := 0, false
	for _, is := range all {
		if in.Body.Issuer != "" && in.Body.Issuer != is.URL {
			continue
		}
		for _, k := range slices.Concat(is.Keys, is.Withdrawn) {
			id, kid, err := token.KeyID(k)
			if err != nil || in.Body.Key == "" || kid != in.Body.Key && id != in.Body.Key {
				continue
			}
			found++
			issuer, key, embedded = is.URL, api.KeyRef{KID: kid, ID: id}, is.Embedded
		}
	}
	switch {
	case found == 0:
		return nil, refuse(http.StatusNotFound, "No identity provider has a key %q; 'lanyard-mgmt issuer list' shows them.", in.Body.Key)
	case found > 1:
		return nil, refuse(http.StatusConflict, "Several keys are called %q; name one by its thumbprint, which 'lanyard-mgmt issuer list' shows.", in.Body.Key)
	}
	ev := change(ctx, "issuer.distrust", issuer)
	ev.Detail = "key " + key.KID + " " + key.ID
	if err := s.store.Change(ctx, ev, func(q *store.Queries) error { return q.Distrust(ctx, issuer, key) }); err != nil {
		return nil, err
	}
	s.audited()
	effect, err := s.apply(ctx) // before anything that takes time: sessions end now
	if err == nil && embedded {
		err = s.idp.NewKey(ctx, key.KID) // else nobody could sign in any more
	}
	return effect, err
}
