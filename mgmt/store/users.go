package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"lanyard/mgmt/api"
)

// User is a person, for good named by issuer and subject.
type User struct {
	ID string `json:"id"`
	api.UserRef
	Email     string    `json:"email"`
	Name      string    `json:"name"`
	Blocked   bool      `json:"blocked"`
	Admin     bool      `json:"admin"`
	NotBefore time.Time `json:"not_before,omitzero"` // logins of earlier are over
	Created   time.Time `json:"created"`
	// BlockedSince goes with Blocked; SignedIn is when they last signed in, zero: never.
	BlockedSince time.Time `json:"blocked_since,omitzero"`
	SignedIn     time.Time `json:"signed_in,omitzero"`
}

const userColumns = `id, issuer, subject, email, name, blocked, admin, not_before, created, blocked_since, signed_in`

func scanUser(r interface{ Scan(...any) error }) (User, error) {
	var u User
	var notBefore, created, blockedSince, signedIn int64
	err := r.Scan(&u.ID, &u.Issuer, &u.Subject, &u.Email, &u.Name, &u.Blocked, &u.Admin, &notBefore, &created, &blockedSince, &signedIn)
	u.NotBefore, u.Created, u.BlockedSince, u.SignedIn = fromMS(notBefore), fromMS(created), fromMS(blockedSince), fromMS(signedIn)
	return u, notFound(err)
}

// AddUser stores u, whose ID and Created are set when empty.
func (s *Queries) AddUser(ctx context.Context, u *User) error {
	if u.ID == "" {
		u.ID = api.NewID("u")
	}
	if u.Created.IsZero() {
		u.Created = s.now()
	}
	r, err := s.q.ExecContext(ctx, `INSERT INTO users(`+userColumns+`) VALUES(?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING`,
		u.ID, u.Issuer, u.Subject, u.Email, u.Name, u.Blocked, u.Admin, ms(u.NotBefore), ms(u.Created), ms(u.BlockedSince), ms(u.SignedIn))
	if err := one(r, err); err != nil {
		if err == ErrNotFound {
			return ErrExists
		}
		return fmt.Errorf("store the user %s: %w", u.Email, err)
	}
	return nil
}

// UserByRef finds a person by issuer and subject.
func (s *Queries) UserByRef(ctx context.Context, ref api.UserRef) (User, error) {
	return scanUser(s.q.QueryRowContext(ctx, `SELECT `+userColumns+` FROM users WHERE issuer = ? AND subject = ?`, ref.Issuer, ref.Subject))
}

// User finds a person by id, or by an email address that only one person has.
func (s *Queries) User(ctx context.Context, idOrEmail string) (User, error) {
	if !strings.Contains(idOrEmail, "@") {
		return scanUser(s.q.QueryRowContext(ctx, `SELECT `+userColumns+` FROM users WHERE id = ?`, idOrEmail))
	}
	found, err := s.users(ctx, `WHERE email = ? COLLATE NOCASE`, idOrEmail)
	switch {
	case err != nil:
		return User{}, err
	case len(found) == 0:
		return User{}, ErrNotFound
	case len(found) > 1:
		return User{}, fmt.Errorf("%d people have the address %s; name one by id", len(found), idOrEmail)
	}
	return found[0], nil
}

// Users lists everyone, by email.
func (s *Queries) Users(ctx context.Context) ([]User, error) { return s.users(ctx, ``) }

func (s *Queries) users(ctx context.Context, where string, args ...any) ([]User, error) {
	rows, err := s.q.QueryContext(ctx, `SELECT `+userColumns+` FROM users `+where+` ORDER BY email COLLATE NOCASE, id`, args...)
	return collect(rows, err, scanUser)
}

// UpdateUser writes all that may change of u, but for SignedIn.
func (s *Queries) UpdateUser(ctx context.Context, u User) error {
	return one(s.q.ExecContext(ctx, `UPDATE users SET email = ?, name = ?, blocked = ?, admin = ?, not_before = ?, blocked_since = ? WHERE id = ?`,
		u.Email, u.Name, u.Blocked, u.Admin, ms(u.NotBefore), ms(u.BlockedSince), u.ID))
}

// SignedIn notes that the person has just signed in, if they are known here.
func (s *Queries) SignedIn(ctx context.Context, ref api.UserRef) error {
	_, err := s.q.ExecContext(ctx, `UPDATE users SET signed_in = ? WHERE issuer = ? AND subject = ?`, ms(s.now()), ref.Issuer, ref.Subject)
	return err
}

// MoveIssuer renames an issuer, when the embedded provider's address changed. It reports how many people moved.
func (s *Queries) MoveIssuer(ctx context.Context, from, to string) (int64, error) {
	r, err := s.q.ExecContext(ctx, `UPDATE users SET issuer = ? WHERE issuer = ?`, to, from)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// Group is a set of people made by hand.
type Group struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Members []string `json:"members"` // ids of users
}

// Groups lists the groups made by hand with their members, by name.
func (s *Queries) Groups(ctx context.Context) ([]Group, error) {
	rows, err := s.q.QueryContext(ctx, `SELECT id, name FROM groups ORDER BY name`)
	groups, err := collect(rows, err, func(r interface{ Scan(...any) error }) (Group, error) {
		g := Group{Members: []string{}}
		return g, r.Scan(&g.ID, &g.Name)
	})
	if err != nil {
		return nil, err
	}
	at := map[string]int{}
	for i, g := range groups {
		at[g.ID] = i
	}
	type member struct{ group, user string }
	rows, err = s.q.QueryContext(ctx, `SELECT group_id, user_id FROM members ORDER BY user_id`)
	members, err := collect(rows, err, func(r interface{ Scan(...any) error }) (m member, err error) {
		return m, r.Scan(&m.group, &m.user)
	})
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		g := &groups[at[m.group]]
		g.Members = append(g.Members, m.user)
	}
	return groups, nil
}

// AddMember puts a person into a group, which is made when it does not exist.
func (s *Queries) AddMember(ctx context.Context, group, userID string) error {
	if _, err := s.q.ExecContext(ctx, `INSERT INTO groups(id, name) VALUES(?,?) ON CONFLICT DO NOTHING`, api.NewID("g"), group); err != nil {
		return err
	}
	if userID == "" {
		return nil
	}
	_, err := s.q.ExecContext(ctx, `INSERT INTO members(group_id, user_id) SELECT id, ? FROM groups WHERE name = ? ON CONFLICT DO NOTHING`,
		userID, group)
	return err
}

// RemoveMember takes a person out of a group.
func (s *Queries) RemoveMember(ctx context.Context, group, userID string) error {
	return one(s.q.ExecContext(ctx, `DELETE FROM members WHERE user_id = ? AND group_id = (SELECT id FROM groups WHERE name = ?)`,
		userID, group))
}

// RemoveGroup removes a group with its memberships.
func (s *Queries) RemoveGroup(ctx context.Context, name string) error {
	return one(s.q.ExecContext(ctx, `DELETE FROM groups WHERE name = ?`, name))
}
