package server

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/store"
)

// Scopes of API tokens: an area with ":read" or ":write" (which includes reading), or one of these.
const (
	ScopeAll  = "admin" // everything
	ScopeRead = "read"  // everything, without changing it
)

// Areas of the admin API; each is the tag of its operations.
const (
	areaUsers     = "users"
	areaGroups    = "groups"
	areaPolicies  = "policies"
	areaSetupKeys = "setup-keys"
	areaPeers     = "peers"
	areaTokens    = "tokens"
	areaAudit     = "audit"
	areaIssuers   = "issuers"
)

var areas = []string{areaUsers, areaGroups, areaPolicies, areaSetupKeys, areaPeers, areaTokens, areaAudit, areaIssuers}

// actor is who uses the admin API.
type actor struct {
	name   string
	scopes []string
}

// may reports whether the actor may do something with a scope like "users:write".
func (a actor) may(scope string) bool {
	area, verb, _ := strings.Cut(scope, ":")
	for _, s := range a.scopes {
		if s == ScopeAll || s == scope || verb == "read" && (s == ScopeRead || s == area+":write") {
			return true
		}
	}
	return false
}

func actorOf(ctx context.Context) (actor, bool) {
	a, ok := ctx.Value(adminKey{}).(actor)
	return a, ok
}

// change is the audit event of an administrator's change.
func change(ctx context.Context, what, target string) *audit.Event {
	a, _ := actorOf(ctx)
	return &audit.Event{Type: audit.AdminChange, What: what, Target: target, User: a.name}
}

// tokenOnly lets API tokens in. ID tokens are none: a person's login never changes things here.
func (s *Server) tokenOnly(next http.Handler) http.Handler {
	return s.handle(func(w http.ResponseWriter, r *http.Request) error {
		secret, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer lat_")
		if !ok {
			return refuse(http.StatusUnauthorized, "The admin API wants an API token: 'Authorization: Bearer lat_…', made with 'lanyard-mgmt token new'.")
		}
		t, err := s.store.Token(r.Context(), "lat_"+secret)
		if errors.Is(err, store.ErrNotFound) {
			return refuse(http.StatusUnauthorized, "The API token is wrong, revoked or expired.")
		}
		if err != nil {
			return err
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), adminKey{}, actor{name: "token " + t.Name, scopes: t.Scopes})))
		return nil
	})
}

// status makes an api.Error an answer of huma.
type status api.Error

func (s *status) GetStatus() int { return s.Status }
func (s *status) Error() string  { return s.Message }

// humaErrors makes huma's own refusals look like ours. It is huma's one global.
var humaErrors = sync.OnceFunc(func() {
	huma.NewError = func(code int, msg string, errs ...error) huma.StatusError {
		for _, err := range errs {
			if err != nil {
				msg += ": " + err.Error()
			}
		}
		return &status{Status: code, Message: msg}
	}
})

// op adds one operation. Its path decides the area, its method whether it reads or writes.
func op[I, O any](s *Server, a huma.API, method, path, id, summary string, f func(context.Context, *I) (*O, error)) {
	area := strings.Split(strings.TrimPrefix(path, "/api/admin/"), "/")[0]
	if !slices.Contains(areas, area) {
		area = areaAudit // explain, restored
	}
	verb := "write"
	if method == http.MethodGet {
		verb = "read"
	}
	scope := area + ":" + verb
	huma.Register(a, huma.Operation{
		OperationID: id, Method: method, Path: path, Summary: summary, Tags: []string{area}, MaxBodyBytes: maxBody,
		Description: "Scope: " + scope + ".", Security: []map[string][]string{{"token": {scope}}},
	}, func(ctx context.Context, in *I) (*O, error) {
		if who, ok := actorOf(ctx); !ok || !who.may(scope) {
			return nil, &status{Status: http.StatusForbidden, Message: "The API token's scopes do not include " + scope + "."}
		}
		if method != http.MethodGet {
			defer s.control.Change()()
		}
		out, err := f(ctx, in)
		if err != nil {
			e, fault := problem(err)
			if fault {
				s.log.Error("an admin request failed", "operation", id, "err", err)
			}
			return nil, (*status)(e)
		}
		return out, nil
	})
}

func (s *Server) adminRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", s.ownerOnly(s.adminAPI()))
	return s.guard(mux)
}

// adminAPI is the administrators' API; who may use it is decided before and by each operation's scope.
func (s *Server) adminAPI() http.Handler {
	humaErrors()
	mux := http.NewServeMux()
	cfg := huma.DefaultConfig("Lanyard management", s.cfg.Release)
	cfg.OpenAPIPath, cfg.DocsPath, cfg.SchemasPath, cfg.CreateHooks = "/api/openapi", "", "", nil
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "An API token (lat_…) with scopes and an expiry."},
	}
	a := humago.New(mux, cfg)
	s.userOperations(a)
	s.groupOperations(a)
	s.policyOperations(a)
	s.setupKeyOperations(a)
	s.peerOperations(a)
	s.tokenOperations(a)
	s.auditOperations(a)
	s.issuerOperations(a)
	return mux
}

// body is an answer with a JSON body.
type body[T any] struct{ Body T }

// none is a request without parameters.
type none struct{}

// effected is a changed object with what the change did to live sessions.
type effected[T any] struct {
	Body struct {
		Object T          `json:"object"`
		Effect api.Effect `json:"effect"`
	}
}

func (s *Server) apply(ctx context.Context) (*body[api.Effect], error) {
	effect, err := s.control.Apply(ctx)
	if err != nil {
		return nil, err
	}
	return &body[api.Effect]{effect}, nil
}
