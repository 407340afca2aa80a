package sshd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api/reason"
	"lanyard/mgmt/policy"
	"lanyard/sshd/token"
)

// A client without a certificate of ours (PuTTY, an IDE, a phone) may sign a person in for this one session, where a
// rule has prompts: keyboard-interactive (RFC 4256) shows an address and a code, the person signs in with any browser,
// and the token that comes of it is bound to this SSH session, host key, account and pair of machines. It is checked and
// decided like a certificate's. A server in between that passes the prompt on gains nothing: its own connection comes
// from its own machine, which is not the person's.

// SignInRequest is what a sign-in for one session is about.
type SignInRequest struct {
	token.Session
}

// SignIn is one that was begun.
type SignIn struct {
	URL, Code string        // what the person opens, and types there
	Life      time.Duration // until it runs out
	// Wait returns the ID token once the person has signed in. An error of a reason is told to them.
	Wait func(context.Context) (string, error)
	// End forgets it; nobody waits any more. It does not block.
	End func()
}

// errHungUp: there is nobody to refuse any more.
var errHungUp = errors.New("the client hung up at the prompt")

// mayPrompt says whether somebody who connects from c's source may sign in at a prompt.
func (c *conn) mayPrompt() reason.Code {
	st := c.s.cfg.State()
	if c.s.cfg.SignIn == nil || st == nil || st.Map == nil || st.Trust == nil || !st.Enabled {
		return reason.SignInOff
	}
	source := c.source
	if p, ok := c.s.factsOf(st.Map).peers[source.ID]; ok {
		source = p
	}
	code := policy.Prompt(st.Map.Rules, source)
	c.mu.Lock()
	c.prompts = code == reason.OK
	c.mu.Unlock()
	return code
}

// prompt is the callback of keyboard-interactive.
func (c *conn) prompt(meta ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
	c.mu.Lock()
	again, told := c.prompted, c.told
	c.prompted = true
	c.mu.Unlock()
	switch {
	case again: // a client that asks once more after a refusal would open one code after the other
		return nil, errors.New("somebody was asked to sign in already")
	case told != "" && told != reason.TokenMissing: // a certificate of ours was refused, and the reason stands
		return nil, errors.New("refused before")
	}
	if code := c.mayPrompt(); code != reason.OK {
		return nil, c.tell(ask, reason.Errorf(code, "sign-in at the prompt, from %s", c.source.Name))
	}
	if !c.s.beginPrompt(c.source.ID) {
		return nil, c.tell(ask, reason.Errorf(reason.TooMany, "sign-ins at the prompt"))
	}
	defer c.s.endPrompt(c.source.ID)
	id, err := c.signIn(meta, ask)
	if errors.Is(err, errHungUp) {
		return nil, err
	}
	if err != nil {
		if codeOf(err) == reason.Internal {
			c.s.cfg.Log.Warn("nobody can sign in at the prompt", "source", c.source.Name, "err", err)
		}
		return nil, c.tell(ask, err)
	}
	g := personGrant(id)
	g.subject.Session = true
	if err := c.decideLogin(meta.User(), g); err != nil {
		c.refuse(meta.User(), g, err)
		return nil, c.tell(ask, err)
	}
	return &ssh.Permissions{ExtraData: map[any]any{grantKey{}: g}}, nil
}

// tell shows the person why they are refused where they look: as one more prompt, without questions (RFC 4256 §3.2).
// PuTTY's plink hides banners.
func (c *conn) tell(ask ssh.KeyboardInteractiveChallenge, err error) error {
	c.mu.Lock()
	c.told = codeOf(err)
	c.mu.Unlock()
	_, _ = ask("", message(err), nil, nil) // who has hung up is not told
	return err
}

// signIn shows the prompt and waits until the person has signed in and pressed Enter.
func (c *conn) signIn(meta ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*token.Identity, error) {
	ctx, cancel := context.WithCancelCause(c.s.life)
	defer cancel(nil)
	c.nc.OnReadError(func(err error) { cancel(fmt.Errorf("%w: %w", errHungUp, err)) })
	defer c.nc.OnReadError(nil)

	st := c.s.cfg.State()
	q := SignInRequest{token.Session{
		ID: meta.SessionID(), HostKey: c.s.cfg.HostKeys[0].PublicKey().Marshal(), LocalUser: meta.User(),
		Server: c.s.cfg.Self(), Source: c.source.ID, Salt: make([]byte, token.SaltSize),
	}}
	rand.Read(q.Salt) // never fails (crypto/rand since Go 1.24)
	s, err := c.s.cfg.SignIn(ctx, q)
	if err != nil {
		return nil, err
	}
	defer s.End()
	life := s.Life
	if life <= 0 || life > token.SessionLife {
		life = token.SessionLife
	}
	ctx, stop := context.WithTimeoutCause(ctx, life, &reason.Error{Code: reason.SignInExpired})
	defer stop()
	_ = c.nc.SetDeadline(time.Now().Add(life + c.s.cfg.Limits.LoginGrace))
	defer c.grace()

	type answer struct {
		raw string
		err error
	}
	signedIn := make(chan answer, 1)
	c.s.run(func() {
		raw, err := s.Wait(ctx)
		signedIn <- answer{raw, err}
	})
	if _, err := ask("Lanyard", instruction(st.Map.Self.Name, c.source.Name, meta.User(), s), []string{"Press Enter once you have signed in: "}, []bool{true}); err != nil {
		return nil, fmt.Errorf("%w: %w", errHungUp, err)
	}
	a := <-signedIn // it ends with ctx
	if a.err != nil {
		var known *reason.Error
		if cause := context.Cause(ctx); ctx.Err() != nil && (errors.Is(cause, errHungUp) || errors.As(cause, &known)) {
			return nil, cause
		}
		return nil, a.err
	}
	st = c.s.cfg.State() // of now: minutes have passed
	if st == nil || st.Trust == nil {
		return nil, reason.Errorf(reason.MapStale, "there is no map any more")
	}
	return st.Trust.VerifySession(q.Session, a.raw, c.s.cfg.Now())
}

// instruction is what the person reads. Names come from elsewhere, and terminals obey what they are shown.
func instruction(server, source, user string, s *SignIn) string {
	return fmt.Sprintf("To sign in, open\n\n    %s\n\nin any browser and type the code  %s  (good for %d minutes).\n"+
		"The page must name\n    server   %s\n    account  %s\n    from     %s\n",
		shown(s.URL), shown(s.Code), int(s.Life.Minutes()), shown(server), shown(user), shown(source))
}

func shown(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

func (s *Server) beginPrompt(source string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.prompting >= s.cfg.Limits.Prompts || s.prompts[source] >= s.cfg.Limits.PromptsPerSource {
		return false
	}
	s.prompting++
	s.prompts[source]++
	return true
}

func (s *Server) endPrompt(source string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prompting--
	if s.prompts[source]--; s.prompts[source] == 0 {
		delete(s.prompts, source)
	}
}
