package login

import (
	"context"
	"errors"
	"time"
)

// keepLook is how often a keeper looks at the login's files, and at how young the machines want its token.
const keepLook = 15 * time.Second

// Keep refreshes the login on the machine peer in time and reports it, until it ends: the management server withdraws a
// login that it hears nothing of, and with it the sessions that are open. One process per person does so; the others
// return at once. ages tells the shortest age of a token that a machine in reach wants; 0: the default.
//
// The login's files are the person's, and so is this process: it ends when they are gone.
func (c Config) Keep(ctx context.Context, peer string, ages func(context.Context) time.Duration) error {
	t, ok, err := tryTurn(c.Paths, "keep")
	if err != nil || !ok {
		return err
	}
	defer t.leave()
	_, _, name := c.Paths.Identity(peer)
	for {
		f, err := ReadFreshness(name)
		if err != nil || !c.now().Before(f.Ends) {
			return nil // signed out, or the day is over
		}
		age := ages(ctx)
		wait := keepLook
		if age > 0 {
			wait = min(wait, max(age/8, 200*time.Millisecond))
		}
		if !f.Good(c.now(), age) {
			switch err := c.Refresh(ctx, peer, age); {
			case errors.Is(err, ErrLoginNeeded):
				return err
			case errors.Is(err, ErrUnreachable):
				c.postpone(peer, retryAfter)
			case err != nil:
				wait = retryAfter // it was asked twice already
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}
