package netmap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/client"
	"lanyard/mgmt/api/reason"
)

// Outbox is what a machine has to tell: audit events, in order, until they are acknowledged. service/spool is one.
type Outbox interface {
	Appended() <-chan struct{}
	Batch(n, maxBytes int) ([]json.RawMessage, []string)
	Delivered(ids []string)
}

// Follower keeps one connection to the management server: maps and acknowledgements come down, acknowledgements,
// facts about this machine and audit events go up.
type Follower struct {
	Client  *client.Client
	Machine client.Machine
	Store   *Store
	Outbox  Outbox
	// Apply puts a map in force, revocations first, and returns the sessions that ended by it. It is not called
	// twice at a time.
	Apply func(*api.Map) (ended []string)
	// Kept is called after a map was written to disk.
	Kept func(*api.Map)
	// Presence is told which machines of the map in force are connected to the management server, as far as it says; what
	// it said is void when the connection ends. May be nil.
	Presence func(*api.Presence)
	// Self tells this machine's facts. SelfChanged yields when they may differ from what was sent.
	Self        func() api.SelfUpdate
	SelfChanged <-chan struct{}
	// Unknown yields keys of issuers that somebody's token named and the map does not have; may be nil.
	Unknown <-chan api.UnknownKey
	// Report is told of every change: connected, with err nil, or not, with the reason.
	Report func(connected bool, err error)
	Log    *slog.Logger
}

// GoneError says that the management server removed this machine.
type GoneError struct{ Sentence string }

func (e *GoneError) Error() string { return e.Sentence }

// Times of the connection.
const (
	firstWait = 200 * time.Millisecond // before the second attempt; doubles
	longest   = 15 * time.Second       // between attempts
	pingEvery = 15 * time.Second
	pingLimit = 10 * time.Second
	lookEvery = 2 * time.Second // at the network, while waiting for the next attempt
)

// Bounds of one message of audit events.
const (
	batchEvents = 256
	batchBytes  = 256 << 10
	// gatherTime is how long events wait for others: a session writes four within a moment, and each message costs both
	// sides, and the server's disk, as much as a batch does.
	gatherTime = 200 * time.Millisecond
)

// Run follows until ctx ends (nil), or the management server removed this machine (*GoneError).
func (f *Follower) Run(ctx context.Context) error {
	wait := firstWait
	for {
		began := time.Now()
		err := f.session(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // asked to end
		}
		var gone *GoneError
		if errors.As(err, &gone) {
			f.Report(false, gone)
			return gone
		}
		f.Report(false, err)
		if time.Since(began) > longest { // it had worked
			wait = firstWait
		}
		// Jitter: a thousand machines must not come back in the same moment.
		pause := wait/2 + rand.N(wait)
		f.Log.Info("not connected to the management server", "err", err, "retry", pause.Round(time.Millisecond))
		if changed := sleep(ctx, pause); changed {
			wait = firstWait
			continue
		}
		wait = min(wait*2, longest)
	}
}

// sleep waits for d, or until the machine's addresses change or somebody sets its clock, which it reports: a wrong clock
// may have been what was in the way.
func sleep(ctx context.Context, d time.Duration) (changed bool) {
	before, began := localAddrs(), time.Now()
	end := time.After(d)
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-end:
			return false
		case <-look.C:
			now := time.Now()
			// Time's Sub goes by the clock that nobody sets, and without it by the one that shows the time.
			set := now.Round(0).Sub(began.Round(0)) - now.Sub(began)
			if set.Abs() > time.Second || !slices.Equal(before, localAddrs()) {
				return true
			}
		}
	}
}

func localAddrs() []string {
	addrs, _ := net.InterfaceAddrs() // an error reads as no addresses
	s := make([]string, len(addrs))
	for i, a := range addrs {
		s[i] = a.String()
	}
	slices.Sort(s)
	return s
}

// session is one connection. It always returns an error.
func (f *Follower) session(ctx context.Context) error {
	stream, err := f.Client.Follow(ctx, f.Machine, f.Store.Have())
	var refused *api.Error
	if errors.As(err, &refused) && refused.Status == http.StatusGone && refused.Code == string(reason.Removed) { // no proxy's word
		return &GoneError{refused.Message}
	}
	if err != nil {
		return err
	}
	defer stream.Close()
	f.Report(true, nil)

	g, ctx := errgroup.WithContext(ctx)
	context.AfterFunc(ctx, func() { stream.Close() }) // frees Recv and Send
	up := make(chan api.Up, 16)
	stored := make(chan struct{}, 1)
	g.Go(func() error { return f.receive(ctx, stream, up, stored) })
	g.Go(func() error { return f.send(ctx, stream, up, stored) })
	return g.Wait()
}

func (f *Follower) receive(ctx context.Context, stream *client.Stream, up chan<- api.Up, stored chan<- struct{}) error {
	for {
		d, err := stream.Recv(ctx)
		if err != nil {
			return err
		}
		switch {
		case d.Gone != "":
			return &GoneError{d.Gone}
		case d.AuditAck != nil:
			f.Outbox.Delivered(d.AuditAck)
			select {
			case stored <- struct{}{}:
			default:
			}
		case d.Presence != nil:
			if f.Presence != nil {
				f.Presence(d.Presence)
			}
		case d.Map != nil:
			ack, err := f.accept(d.Map)
			if err != nil {
				return err
			}
			select {
			case up <- api.Up{Ack: ack}:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// accept puts a map in force. It comes into force before it is written, as it may carry a revocation and a disk may
// be slow; it is acknowledged after, so that what the server counts as in force survives a restart.
func (f *Follower) accept(signed *api.SignedMap) (*api.Ack, error) {
	m, same, err := f.Store.Check(signed)
	if err != nil {
		return nil, err
	}
	if same && f.Store.Have() == (api.Have{Epoch: m.Epoch, Version: m.Version}) {
		return &api.Ack{Version: m.Version}, nil
	}
	var ended []string
	if !same { // else it only found no room on the disk so far
		ended = f.Apply(m)
	}
	if err := f.Store.Keep(signed, m); err != nil {
		return nil, fmt.Errorf("%w; it is in force until this service stops", err)
	}
	if f.Kept != nil {
		f.Kept(m)
	}
	return &api.Ack{Version: m.Version, Ended: ended}, nil
}

func (f *Follower) send(ctx context.Context, stream *client.Stream, up <-chan api.Up, stored <-chan struct{}) error {
	if have := f.Store.Have(); have != (api.Have{}) {
		// The version that was named is in force: an effect may wait for this machine.
		if err := stream.Send(ctx, api.Up{Ack: &api.Ack{Version: have.Version}}); err != nil {
			return err
		}
	}
	self := f.Self()
	if err := stream.Send(ctx, api.Up{Self: &self}); err != nil {
		return err
	}
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	var (
		due      = true           // events that wait are sent now
		underway bool             // or are on their way and not acknowledged: one batch at a time
		backlog  bool             // that batch did not hold all
		gathered <-chan time.Time // when they are due; nil: none is known to wait
	)
	for {
		appended := f.Outbox.Appended()
		if due {
			due = false
			lines, _ := f.Outbox.Batch(batchEvents, batchBytes)
			backlog = len(lines) == batchEvents
			if underway = len(lines) > 0; underway {
				if err := stream.Send(ctx, api.Up{Audit: lines}); err != nil {
					return err
				}
			}
		}
		if underway || gathered != nil {
			appended = nil
		}
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case u := <-up:
			err = stream.Send(ctx, u)
		case <-stored:
			if underway = false; backlog {
				due = true
			} else {
				gathered = time.After(gatherTime) // what came meanwhile
			}
		case <-appended:
			gathered = time.After(gatherTime)
		case <-gathered:
			due, gathered = true, nil
		case u := <-f.Unknown:
			err = stream.Send(ctx, api.Up{Unknown: &u})
		case <-f.SelfChanged:
			if next := f.Self(); !sameSelf(next, self) {
				self = next
				err = stream.Send(ctx, api.Up{Self: &self})
			}
		case <-ping.C:
			pctx, cancel := context.WithTimeout(ctx, pingLimit)
			err = stream.Ping(pctx)
			cancel()
		}
		if err != nil {
			return err
		}
	}
}

func sameSelf(a, b api.SelfUpdate) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}
