// Package asks carries a waiting program's wish for a sign-in to the person's tray.
//
// No program opens a browser tab that the person did not ask for by a click or a command. A program with nobody at it, an
// ssh of an IDE's or of a timer's, asks here; the trays of the same account, as the kernel knows it, show one
// notification, however many programs wait and however often they come again.
package asks

import (
	"context"
	"crypto/rand"
	"net/http"
	"sync"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
	"lanyard/service/ipc"
)

// Limits.
const (
	clickLimit = 2 * time.Minute // for the person to click; what waits is refused then
	signLimit  = 6 * time.Minute // from the click to the sign-in's end; a login ends itself after five
	wholeLimit = clickLimit + signLimit
	firstQuiet = 10 * time.Minute // without a question after one that was not answered; doubles with each
	lastQuiet  = 4 * time.Hour
	maxWaiting = 64 // programs of one account, so that they leave it connections to the service
)

// Refusals.
var (
	errNoTray = refusal("Nobody is signed in, and there is no tray to ask; run 'lanyard login'.")
	errNot    = refusal("You were asked to sign in and did not; run 'lanyard login', or click Log in in the tray.")
	errMany   = refusal("Too many programs wait for your sign-in already; run 'lanyard login'.")
)

func refusal(sentence string) error {
	return &api.Error{Status: http.StatusForbidden, Code: string(reason.NotLoggedIn), Message: sentence}
}

// Board knows who waits and who can be asked.
type Board struct {
	now func() time.Time

	mu     sync.Mutex
	people map[string]*person // guarded by mu: by the account's id
}

// person is one account; the board's lock guards it.
type person struct {
	trays map[chan ipc.Ask]bool
	open  *question
	calm  time.Time     // no question before
	quiet time.Duration // the last pause
}

// question is shown and not answered yet.
type question struct {
	ipc.Ask
	until   time.Time
	end     time.Time // until is never later
	waiting int
	done    chan struct{} // closed when it is answered
	err     error         // read after done
}

// New makes an empty board.
func New(now func() time.Time) *Board { return &Board{now: now, people: map[string]*person{}} }

// of is the account's entry; the lock is held.
func (b *Board) of(w ipc.Who) *person {
	p := b.people[w.ID]
	if p == nil {
		p = &person{trays: map[chan ipc.Ask]bool{}}
		b.people[w.ID] = p
	}
	return p
}

// Ask has w's trays ask for a sign-in, to reach the machine called to, and returns nil once there is one.
func (b *Board) Ask(ctx context.Context, w ipc.Who, to string) error {
	q, err := b.join(w, to)
	if err != nil {
		return err
	}
	defer b.left(q)
	for {
		b.mu.Lock()
		wait := q.until.Sub(b.now())
		b.mu.Unlock()
		if wait <= 0 {
			b.finish(w, q.ID, errNot)
			<-q.done
		}
		select {
		case <-q.done:
			return q.err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(min(wait, time.Second)): // a click gives more time
		}
	}
}

// join is the question that is open, or a new one.
func (b *Board) join(w ipc.Who, to string) (*question, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if w.ID == "" || b.people[w.ID] == nil || len(b.people[w.ID].trays) == 0 {
		return nil, errNoTray
	}
	p, now := b.people[w.ID], b.now()
	if p.open != nil && !now.Before(p.open.until) { // those who asked are gone, and so nobody has noticed
		b.end(p, errNot)
	}
	if p.open == nil {
		// A clock that was set back does not make the pause longer.
		if now.Before(p.calm) && p.calm.Sub(now) <= lastQuiet {
			return nil, errNot
		}
		p.open = &question{Ask: ipc.Ask{ID: rand.Text(), To: to}, until: now.Add(clickLimit), end: now.Add(wholeLimit), done: make(chan struct{})}
		for tray := range p.trays {
			tell(tray, p.open.Ask)
		}
	}
	if p.open.waiting >= maxWaiting {
		return nil, errMany
	}
	p.open.waiting++
	return p.open, nil
}

// tell leaves the newest question in a tray's box of one.
func tell(tray chan ipc.Ask, a ipc.Ask) {
	select {
	case <-tray:
	default:
	}
	tray <- a
}

func (b *Board) left(q *question) {
	b.mu.Lock()
	defer b.mu.Unlock()
	q.waiting--
}

// end closes the open question; the lock is held. Unless the person signed in, they are left alone for a while.
func (b *Board) end(p *person, err error) {
	q := p.open
	p.open = nil
	q.err = err
	close(q.done)
	if err == nil {
		p.calm, p.quiet = time.Time{}, 0
		return
	}
	p.quiet = min(max(2*p.quiet, firstQuiet), lastQuiet)
	p.calm = b.now().Add(p.quiet)
}

func (b *Board) finish(w ipc.Who, id string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.people[w.ID]; p != nil && p.open != nil && p.open.ID == id {
		b.end(p, err)
	}
}

// Listen is a tray of w's: send gets each question, the open one first, until ctx ends or send fails.
func (b *Board) Listen(ctx context.Context, w ipc.Who, send func(ipc.Ask) error) error {
	if w.ID == "" {
		return errNoTray
	}
	box := make(chan ipc.Ask, 1)
	b.mu.Lock()
	p := b.of(w)
	p.trays[box] = true
	if p.open != nil {
		box <- p.open.Ask
	}
	b.mu.Unlock()
	defer b.leave(w, box)
	for {
		select {
		case <-ctx.Done():
			return nil
		case a := <-box:
			if err := send(a); err != nil {
				return err
			}
		}
	}
}

// leave forgets a tray; with the last one goes the hope of an answer, and no pause begins by it.
func (b *Board) leave(w ipc.Who, box chan ipc.Ask) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.people[w.ID]
	delete(p.trays, box)
	if len(p.trays) > 0 {
		return
	}
	if q := p.open; q != nil {
		p.open, q.err = nil, errNoTray
		close(q.done)
	}
	if !b.now().Before(p.calm) {
		delete(b.people, w.ID)
	}
}

// Answer is a tray's word on a question; one on another than the open one is late, and means nothing.
func (b *Board) Answer(w ipc.Who, a ipc.Answer) error {
	switch a.How {
	case ipc.ReplyBegun:
		b.mu.Lock()
		defer b.mu.Unlock()
		if p := b.people[w.ID]; p != nil && p.open != nil && p.open.ID == a.ID {
			p.open.until = b.now().Add(signLimit)
			if p.open.until.After(p.open.end) { // however often somebody says so
				p.open.until = p.open.end
			}
		}
	case ipc.ReplySignedIn:
		b.signedIn(w, a.ID)
	case ipc.ReplyRefused:
		b.finish(w, a.ID, errNot)
	default:
		return &api.Error{Status: http.StatusBadRequest, Message: "The service does not know this answer; it is older than the tray: run 'lanyard service restart' after an upgrade."}
	}
	return nil
}

// signedIn also ends a pause, whichever question led to it.
func (b *Board) signedIn(w ipc.Who, id string) {
	b.finish(w, id, nil)
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.people[w.ID]; p != nil && p.open == nil {
		p.calm, p.quiet = time.Time{}, 0
	}
}
