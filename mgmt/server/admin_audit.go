package server

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"lanyard/mgmt/api"
	"lanyard/mgmt/store"
)

type auditInput struct {
	After int64 `query:"after" default:"-1" doc:"Events that arrived after this seq, oldest first; -1: the newest."`
	Limit int   `query:"limit" default:"200" minimum:"1" maximum:"1000"`
	Wait  int   `query:"wait" minimum:"0" maximum:"20" doc:"Seconds to wait for an event when there is none."`
}

type explainInput struct {
	Body api.ExplainRequest
}

func (s *Server) auditOperations(a huma.API) {
	op(s, a, http.MethodGet, "/api/admin/audit", "list-audit", "Read the audit log", func(ctx context.Context, in *auditInput) (*body[[]store.Recorded], error) {
		until := time.NewTimer(time.Duration(in.Wait) * time.Second)
		defer until.Stop()
		poll := time.NewTicker(time.Second) // changes of administrators do not all wake us
		defer poll.Stop()
		for {
			more := s.auditSignal()
			events, err := s.store.Audit(ctx, in.After, in.Limit)
			if err != nil || len(events) > 0 || in.Wait == 0 {
				return &body[[]store.Recorded]{events}, err
			}
			select {
			case <-more:
			case <-poll.C:
			case <-until.C:
				return &body[[]store.Recorded]{events}, nil
			case <-s.life.Done():
				return &body[[]store.Recorded]{events}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	})
	op(s, a, http.MethodPost, "/api/admin/explain", "explain", "Say what the policy says of a person", func(ctx context.Context, in *explainInput) (*body[*api.ExplainReply], error) {
		if strings.HasPrefix(in.Body.User, api.MachineSubject) {
			reply, err := s.explainMachine(ctx, in.Body)
			return &body[*api.ExplainReply]{reply}, err
		}
		u, err := s.store.User(ctx, in.Body.User)
		if err != nil {
			return nil, named(err, "person", in.Body.User)
		}
		reply, err := s.decide(ctx, u, nil, s.ideal(u), in.Body)
		return &body[*api.ExplainReply]{reply}, err
	})
	op(s, a, http.MethodPost, "/api/admin/restored", "restored", "Begin a new epoch after the database was restored", func(ctx context.Context, _ *none) (*none, error) {
		if err := s.store.Change(ctx, change(ctx, "restored", ""), func(*store.Queries) error { return nil }); err != nil {
			return nil, err
		}
		return nil, s.control.Restored(ctx)
	})
}
