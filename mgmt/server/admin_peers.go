package server

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"lanyard/mgmt/api"
	"lanyard/mgmt/store"
)

type peerView struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	ShortName bool      `json:"short_name"`
	Addr4     string    `json:"addr4"`
	Addr6     string    `json:"addr6"`
	Owner     string    `json:"owner,omitempty" doc:"Email address of the person."`
	Tags      []string  `json:"tags"`
	ServesSSH bool      `json:"serves_ssh"`
	OS        string    `json:"os,omitempty"`
	Release   string    `json:"release,omitempty"`
	Online    bool      `json:"online"`
	Created   time.Time `json:"created"`
	LastSeen  time.Time `json:"last_seen,omitzero"`
}

// PeerPath names a machine.
type PeerPath struct {
	Peer string `path:"peer" doc:"name or id"`
}

type peerInput struct {
	PeerPath
	Body struct {
		Name      *string   `json:"name,omitempty" doc:"A name that an administrator gives may be used without the zone."`
		ShortName *bool     `json:"short_name,omitempty" doc:"Approve (or not) the use of the bare name."`
		Tags      *[]string `json:"tags,omitempty"`
		Owner     *string   `json:"owner,omitempty" doc:"id or email address; empty: nobody."`
	}
}

// machineRemoved is what a machine is told that was removed.
const machineRemoved = "This machine was removed from the network by an administrator; run 'lanyard up' to join again."

func (s *Server) peerOperations(a huma.API) {
	op(s, a, http.MethodGet, "/api/admin/peers", "list-peers", "List machines", func(ctx context.Context, _ *none) (*body[[]peerView], error) {
		peers, err := s.store.Peers(ctx)
		if err != nil {
			return nil, err
		}
		out := []peerView{}
		for _, p := range peers {
			v, err := s.viewPeer(ctx, p)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return &body[[]peerView]{out}, nil
	})
	op(s, a, http.MethodPatch, "/api/admin/peers/{peer}", "change-peer", "Change a machine's name, tags or owner", s.changePeer)
	op(s, a, http.MethodDelete, "/api/admin/peers/{peer}", "remove-peer", "Remove a machine and end the sign-ins that were made on it",
		func(ctx context.Context, in *PeerPath) (*body[api.Effect], error) {
			out, err := s.drop(ctx, in.Peer, "peer.remove", machineRemoved)
			if err != nil {
				return nil, err
			}
			return &body[api.Effect]{out.Body.Effect}, nil
		})
	op(s, a, http.MethodPost, "/api/admin/peers/{peer}/lost", "lose-peer", "Remove a machine that is lost or stolen: its sessions end, and the sign-ins whose keys lie on it",
		func(ctx context.Context, in *PeerPath) (*effected[lostPeer], error) {
			return s.drop(ctx, in.Peer, "peer.lost", "This machine was reported lost and is out of the network; ask your administrator.")
		})
}

// lostPeer is a machine that is out of the network, and what went with it.
type lostPeer struct {
	ID     string            `json:"id"`
	Name   string            `json:"name"`
	Owner  string            `json:"owner,omitempty" doc:"Email address of the person whose machine it was."`
	Logins []store.LostLogin `json:"logins" doc:"Sign-ins that ended with it."`
}

// drop takes a machine out of the network, with the sign-ins whose keys lie on it.
func (s *Server) drop(ctx context.Context, name, what, sentence string) (*effected[lostPeer], error) {
	ev := change(ctx, what, name)
	out := &effected[lostPeer]{}
	err := s.store.Change(ctx, ev, func(q *store.Queries) error {
		p, err := q.Peer(ctx, name)
		if err != nil {
			return named(err, "machine", name)
		}
		out.Body.Object = lostPeer{ID: p.ID, Name: p.Name}
		if p.OwnerID != "" {
			u, err := q.User(ctx, p.OwnerID)
			if err != nil {
				return err
			}
			out.Body.Object.Owner = u.Email
		}
		if out.Body.Object.Logins, err = q.RevokeLoginsOf(ctx, p); err != nil {
			return err
		}
		ev.Target, ev.Detail = p.Name, fmt.Sprintf("%s, sign-ins ended: %d", p.ID, len(out.Body.Object.Logins))
		return q.RemovePeer(ctx, p.ID)
	})
	if err != nil {
		return nil, err
	}
	s.audited()
	s.control.Gone(out.Body.Object.ID, sentence)
	out.Body.Effect, err = s.control.Apply(ctx)
	return out, err
}

func (s *Server) viewPeer(ctx context.Context, p store.Peer) (peerView, error) {
	v := peerView{
		ID: p.ID, Name: p.Name, ShortName: p.ShortName, Addr4: p.Addr4.String(), Addr6: p.Addr6.String(), Tags: p.Tags, ServesSSH: p.ServesSSH,
		OS: p.OS, Release: p.Release, Online: s.control.Online(p.ID), Created: p.Created, LastSeen: p.LastSeen,
	}
	if v.Tags == nil {
		v.Tags = []string{}
	}
	if p.OwnerID != "" {
		u, err := s.store.User(ctx, p.OwnerID)
		if err != nil {
			return v, err
		}
		v.Owner = u.Email
	}
	return v, nil
}

func (s *Server) changePeer(ctx context.Context, in *peerInput) (*effected[peerView], error) {
	ev := change(ctx, "peer.change", in.Peer)
	var p store.Peer
	err := s.store.Change(ctx, ev, func(q *store.Queries) (err error) {
		if p, err = q.Peer(ctx, in.Peer); err != nil {
			return named(err, "machine", in.Peer)
		}
		ev.Detail = p.ID
		if n := in.Body.Name; n != nil && *n != p.Name {
			if err := api.CheckName(*n); err != nil {
				return refuse(http.StatusBadRequest, "%v", err)
			}
			if taken, err := q.NameTaken(ctx, *n, p.MachineKey); err != nil {
				return err
			} else if taken {
				return refuse(http.StatusConflict, "A machine is, or was not long ago, called %q; choose another name.", *n)
			}
			p.Name, p.ShortName = *n, true
		}
		if in.Body.ShortName != nil {
			p.ShortName = *in.Body.ShortName
		}
		if in.Body.Tags != nil {
			for _, t := range *in.Body.Tags {
				if err := api.CheckTag(t); err != nil {
					return refuse(http.StatusBadRequest, "%v", err)
				}
			}
			p.Tags = *in.Body.Tags
		}
		if o := in.Body.Owner; o != nil {
			p.OwnerID = ""
			if *o != "" {
				u, err := q.User(ctx, *o)
				if err != nil {
					return named(err, "person", *o)
				}
				p.OwnerID = u.ID
			}
		}
		return q.UpdatePeer(ctx, p)
	})
	if err != nil {
		return nil, err
	}
	out := &effected[peerView]{}
	if out.Body.Effect, err = s.control.Apply(ctx); err != nil {
		return nil, err
	}
	out.Body.Object, err = s.viewPeer(ctx, p)
	return out, err
}
