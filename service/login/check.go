package login

import (
	"context"
	"errors"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/client"
	"lanyard/mgmt/api/reason"
)

// checkLimit bounds how long Refused waits for the management server.
const checkLimit = 2 * time.Second

// Refused asks the management server whether the sign-in l may still be used, and changes nothing there. Nil: it may, or
// nobody knows: what else the server answers is nothing against it (a token that was not needed for an hour is too old
// for it, say).
func Refused(ctx context.Context, server string, l *Login) *api.Error {
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	c, err := client.New(server)
	if err != nil {
		return nil
	}
	return refusedBy(ctx, c, l)
}

func refusedBy(ctx context.Context, c *client.Client, l *Login) *api.Error {
	_, err := c.Me(ctx, l.Login)
	if refused := (*api.Error)(nil); errors.As(err, &refused) && ended(refused) {
		return refused
	}
	return nil
}

// Check asks the management server whether the sign-in on the machine peer may still be used: an *api.Error if not. One
// that was ended is forgotten here. That of a blocked person stays, so that each ssh says why it is refused.
func (c Config) Check(ctx context.Context, peer, server string) error {
	l, _ := Load(c.Paths, peer)
	if l == nil {
		return nil // there is none that can be used
	}
	refused := Refused(ctx, server, l)
	switch {
	case refused == nil:
		return nil
	case reason.Code(refused.Code) == reason.Blocked:
		return refused
	}
	if now, _ := Load(c.Paths, peer); now == nil || !now.Key.Equal(l.Key) {
		return nil // another one took its place meanwhile
	}
	return errors.Join(refused, Forget(c.Paths, c.Store, peer))
}
