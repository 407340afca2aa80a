package server

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"lanyard/mgmt/api"
	"lanyard/mgmt/idp"
	"lanyard/mgmt/store"
)

// UserPath names a person; exported because huma fills embedded fields of exported types only.
type UserPath struct {
	User string `path:"user" doc:"id or email address"`
}

type newUserInput struct {
	Body struct {
		Email    string `json:"email"`
		Name     string `json:"name,omitempty"`
		Password string `json:"password,omitempty" doc:"Empty: one is made and returned once."`
		Admin    bool   `json:"admin,omitempty"`
	}
}

type newUserReply struct {
	User     store.User `json:"user"`
	Password string     `json:"password,omitempty" doc:"The password that was made."`
}

type passwordInput struct {
	UserPath
	Body struct {
		Password string `json:"password,omitempty" doc:"Empty: one is made and returned once."`
	}
}

func (s *Server) userOperations(a huma.API) {
	op(s, a, http.MethodGet, "/api/admin/users", "list-users", "List people", func(ctx context.Context, _ *none) (*body[[]store.User], error) {
		users, err := s.store.Users(ctx)
		return &body[[]store.User]{users}, err
	})
	op(s, a, http.MethodPost, "/api/admin/users", "add-user", "Make a person with a password", func(ctx context.Context, in *newUserInput) (*body[newUserReply], error) {
		n := idp.NewUser{Email: in.Body.Email, Name: in.Body.Name, Password: in.Body.Password, Admin: in.Body.Admin}
		var made string
		if n.Password == "" {
			made = password()
			n.Password = made
		}
		u, err := s.idp.AddUser(ctx, n, change(ctx, "user.add", n.Email))
		if err != nil {
			return nil, err
		}
		_, err = s.control.Apply(ctx) // rules that name the address begin to hold
		return &body[newUserReply]{newUserReply{User: u, Password: made}}, err
	})
	op(s, a, http.MethodPost, "/api/admin/users/{user}/password", "set-password", "Give a person another password and end their logins",
		func(ctx context.Context, in *passwordInput) (*body[newUserReply], error) {
			u, err := s.store.User(ctx, in.User)
			if err != nil {
				return nil, named(err, "person", in.User)
			}
			pw, made := in.Body.Password, ""
			if pw == "" {
				made = password()
				pw = made
			}
			if err := s.idp.SetPassword(ctx, u, pw); err != nil {
				return nil, err
			}
			_, err = s.changeUser(ctx, in.User, "user.password", func(q *store.Queries, u *store.User) error { return s.endLogins(ctx, q, u) })
			return &body[newUserReply]{newUserReply{User: u, Password: made}}, err
		})
	op(s, a, http.MethodPost, "/api/admin/users/{user}/block", "block-user", "Block a person and end their sessions",
		func(ctx context.Context, in *UserPath) (*body[api.Effect], error) {
			return s.changeUser(ctx, in.User, "user.block", func(q *store.Queries, u *store.User) error {
				if !u.Blocked {
					u.Blocked, u.BlockedSince = true, s.now()
				}
				return s.endLogins(ctx, q, u)
			})
		})
	op(s, a, http.MethodPost, "/api/admin/users/{user}/unblock", "unblock-user", "Let a blocked person sign in again",
		func(ctx context.Context, in *UserPath) (*body[api.Effect], error) {
			return s.changeUser(ctx, in.User, "user.unblock", func(q *store.Queries, u *store.User) error {
				u.Blocked, u.BlockedSince = false, time.Time{}
				return q.UpdateUser(ctx, *u)
			})
		})
	op(s, a, http.MethodPost, "/api/admin/users/{user}/logout", "logout-user", "End all logins and sessions of a person",
		func(ctx context.Context, in *UserPath) (*body[api.Effect], error) {
			return s.changeUser(ctx, in.User, "user.logout", func(q *store.Queries, u *store.User) error { return s.endLogins(ctx, q, u) })
		})
}

// changeUser changes a person in one transaction, ends refresh tokens unless they were just unblocked, and waits
// for the peers.
func (s *Server) changeUser(ctx context.Context, idOrEmail, what string, f func(*store.Queries, *store.User) error) (*body[api.Effect], error) {
	ev := change(ctx, what, idOrEmail)
	var u store.User
	err := s.store.Change(ctx, ev, func(q *store.Queries) (err error) {
		if u, err = q.User(ctx, idOrEmail); err != nil {
			return named(err, "person", idOrEmail)
		}
		ev.Target, ev.Issuer, ev.Subject = u.Email, u.Issuer, u.Subject
		return f(q, &u)
	})
	if err != nil {
		return nil, err
	}
	s.audited()
	effect, err := s.apply(ctx) // before anything that takes time: sessions end now
	if err != nil {
		return nil, err
	}
	if what != "user.unblock" {
		err = s.idp.RevokeAll(ctx, u)
	}
	return effect, err
}

type groupView struct {
	Name    string   `json:"name"`
	Members []string `json:"members" doc:"Email addresses, or ids of people without one."`
}

// GroupPath names a group.
type GroupPath struct {
	Group string `path:"group"`
}

type membersInput struct {
	GroupPath
	Body struct {
		Users []string `json:"users" doc:"ids or email addresses"`
	}
}

type memberPath struct {
	GroupPath
	UserPath
}

func (s *Server) groupOperations(a huma.API) {
	op(s, a, http.MethodGet, "/api/admin/groups", "list-groups", "List the groups made by hand", func(ctx context.Context, _ *none) (*body[[]groupView], error) {
		groups, err := s.store.Groups(ctx)
		if err != nil {
			return nil, err
		}
		users, err := s.store.Users(ctx)
		if err != nil {
			return nil, err
		}
		emails := map[string]string{}
		for _, u := range users {
			emails[u.ID] = u.Email
		}
		out := []groupView{}
		for _, g := range groups {
			v := groupView{Name: g.Name, Members: []string{}}
			for _, m := range g.Members {
				if e := emails[m]; e != "" {
					m = e
				}
				v.Members = append(v.Members, m)
			}
			out = append(out, v)
		}
		return &body[[]groupView]{out}, nil
	})
	op(s, a, http.MethodPost, "/api/admin/groups/{group}/members", "add-members", "Put people into a group, which is made when it is new",
		func(ctx context.Context, in *membersInput) (*body[api.Effect], error) {
			if err := api.CheckName(in.Group); err != nil {
				return nil, refuse(http.StatusBadRequest, "%v", err)
			}
			ev := change(ctx, "group.add", in.Group)
			ev.Detail = strings.Join(in.Body.Users, " ")
			err := s.store.Change(ctx, ev, func(q *store.Queries) error {
				if len(in.Body.Users) == 0 {
					return q.AddMember(ctx, in.Group, "")
				}
				for _, name := range in.Body.Users {
					u, err := q.User(ctx, name)
					if err != nil {
						return named(err, "person", name)
					}
					if err := q.AddMember(ctx, in.Group, u.ID); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
			return s.apply(ctx)
		})
	op(s, a, http.MethodDelete, "/api/admin/groups/{group}/members/{user}", "remove-member", "Take a person out of a group",
		func(ctx context.Context, in *memberPath) (*body[api.Effect], error) {
			ev := change(ctx, "group.remove", in.Group)
			ev.Detail = in.User
			err := s.store.Change(ctx, ev, func(q *store.Queries) error {
				u, err := q.User(ctx, in.User)
				if err != nil {
					return named(err, "person", in.User)
				}
				if err = q.RemoveMember(ctx, in.Group, u.ID); err == store.ErrNotFound {
					return refuse(http.StatusNotFound, "There is no member %q of a group %q here; 'lanyard-mgmt group list' shows who is in which.", in.User, in.Group)
				}
				return err
			})
			if err != nil {
				return nil, err
			}
			return s.apply(ctx)
		})
	op(s, a, http.MethodDelete, "/api/admin/groups/{group}", "remove-group", "Remove a group", func(ctx context.Context, in *GroupPath) (*body[api.Effect], error) {
		err := s.store.Change(ctx, change(ctx, "group.delete", in.Group), func(q *store.Queries) error {
			return named(q.RemoveGroup(ctx, in.Group), "group", in.Group)
		})
		if err != nil {
			return nil, err
		}
		return s.apply(ctx)
	})
}

// named says which object was not found.
func named(err error, kind, name string) error {
	if err == store.ErrNotFound {
		return refuse(http.StatusNotFound, "There is no %s called %q here.", kind, name)
	}
	return err
}
