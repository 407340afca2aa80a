// Package mirror keeps what other OpenID providers publish: their signing keys, as maps carry them.
//
// People of such a provider sign in there, and its tokens go straight to the machines; the management server only
// looks at its discovery document and its keys, so that no machine ever has to. It looks from time to time, and when
// somebody brings a token whose key it does not know, with a floor between the looks. A provider that is down changes
// nothing: the keys of its last answer stay, across restarts too, and those that it withdrew verify the logins that
// began with them.
package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/store"
	"lanyard/sshd/token"
)

const (
	// lookEvery is how often a provider is asked that nobody brings news of.
	lookEvery = 5 * time.Minute
	// retry is the pause after a failure.
	retry = 30 * time.Second
	// At most burst looks at one provider within floor, whoever asks for them.
	burst = 5
	floor = 10 * time.Second
	// maxKeys bounds what one provider adds to every map.
	maxKeys = 64
)

// Config is what a Mirror needs.
type Config struct {
	Store *store.Store
	// Lifetime of logins: how long withdrawn keys are kept.
	Lifetime time.Duration
	// Changed is called when a provider's keys are others than before.
	Changed func()
	Log     *slog.Logger
	Now     func() time.Time
	// Patience is how long one question may take; zero: three seconds.
	Patience time.Duration
}

// Mirror knows the providers. Its methods may be called from several goroutines.
type Mirror struct {
	Config
	http *http.Client

	mu      sync.Mutex // guards the rest
	known   []*issuer  // in the order they were added
	looking sync.Mutex // one look at a time

	wake chan struct{}
	stop context.CancelFunc
	done chan struct{}
}

// issuer is one provider. Mirror.mu guards it.
type issuer struct {
	api.Issuer // with keys
	looks      []time.Time
	next       time.Time
	seen       time.Time // its last good answer
	err        error     // of the last look
}

// State is what an administrator is shown of a provider.
type State struct {
	api.Issuer           // with keys
	Seen       time.Time // when it last answered
	Err        error     // why it did not
}

// Open reads the providers and begins to look after them. Close ends it.
func Open(ctx context.Context, cfg Config) (*Mirror, error) {
	m := &Mirror{Config: cfg, http: newClient(cfg.Patience), wake: make(chan struct{}, 1), done: make(chan struct{})}
	all, err := cfg.Store.Issuers(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the identity providers: %w", err)
	}
	for _, is := range all {
		i := &issuer{Issuer: is}
		if i.Keys, i.seen, err = cfg.Store.LastIssuerKeys(ctx, is.URL); err != nil {
			return nil, fmt.Errorf("read the keys of %s: %w", is.URL, err)
		}
		if i.Withdrawn, err = m.note(ctx, is.URL, i.Keys, false); err != nil {
			return nil, err
		}
		m.known = append(m.known, i)
	}
	life, stop := context.WithCancel(context.Background())
	m.stop = stop
	go m.run(life)
	return m, nil
}

// Close ends the background work and waits for it.
func (m *Mirror) Close() error {
	m.stop()
	<-m.done
	m.http.CloseIdleConnections()
	return nil
}

func (m *Mirror) run(ctx context.Context) {
	defer close(m.done)
	for {
		m.mu.Lock()
		next := m.Now().Add(lookEvery)
		var due []string
		for _, i := range m.known {
			if !m.Now().Before(i.next) {
				due = append(due, i.URL)
			} else if i.next.Before(next) {
				next = i.next
			}
		}
		m.mu.Unlock()
		for _, url := range due {
			if _, err := m.look(ctx, url); err != nil && ctx.Err() == nil {
				m.Log.Warn("an identity provider does not tell its keys; those of before stay in force", "issuer", url, "err", err)
			}
		}
		if len(due) > 0 {
			continue
		}
		t := time.NewTimer(max(next.Sub(m.Now()), time.Second))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		case <-m.wake:
			t.Stop()
		}
	}
}

// Issuers lists the providers with their keys, as maps carry them.
func (m *Mirror) Issuers() []api.Issuer {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []api.Issuer
	for _, i := range m.known {
		out = append(out, i.Issuer)
	}
	return out
}

// Public lists them without keys.
func (m *Mirror) Public() []api.Issuer {
	out := m.Issuers()
	for i := range out {
		out[i].Keys, out[i].Withdrawn = nil, nil
	}
	return out
}

// States lists them with how the last look went.
func (m *Mirror) States() []State {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []State
	for _, i := range m.known {
		out = append(out, State{i.Issuer, i.seen, i.err})
	}
	return out
}

// Find asks a provider that is to be added for its keys: it must answer now, and be who its URL says.
func (m *Mirror) Find(ctx context.Context, url string) ([]json.RawMessage, error) {
	return m.fetch(ctx, url)
}

// Put takes over a provider that was stored, with the keys that Find gave.
func (m *Mirror) Put(ctx context.Context, is api.Issuer, keys []json.RawMessage) error {
	withdrawn, err := m.note(ctx, is.URL, keys, true)
	if err != nil {
		return err
	}
	is.Keys, is.Withdrawn = keys, withdrawn
	m.mu.Lock()
	defer m.mu.Unlock()
	i := &issuer{Issuer: is, seen: m.Now(), next: m.Now().Add(lookEvery)}
	if at := slices.IndexFunc(m.known, func(x *issuer) bool { return x.URL == is.URL }); at >= 0 {
		m.known[at] = i
	} else {
		m.known = append(m.known, i)
	}
	return nil
}

// Remove forgets a provider.
func (m *Mirror) Remove(url string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known = slices.DeleteFunc(m.known, func(i *issuer) bool { return i.URL == url })
}

func (m *Mirror) find(url string) *issuer {
	for _, i := range m.known {
		if i.URL == url {
			return i
		}
	}
	return nil
}

// Look asks a provider for its keys because somebody has a token by another one, unless it was asked often just now.
// It reports whether they have changed.
func (m *Mirror) Look(ctx context.Context, url string) (changed bool, err error) {
	m.mu.Lock()
	i, now := m.find(url), m.Now()
	if i != nil {
		i.looks = slices.DeleteFunc(i.looks, func(t time.Time) bool { return now.Sub(t) >= floor })
	}
	if i == nil || len(i.looks) >= burst {
		m.mu.Unlock()
		return false, nil
	}
	i.looks = append(i.looks, now)
	m.mu.Unlock()
	return m.look(ctx, url)
}

// look asks now.
func (m *Mirror) look(ctx context.Context, url string) (changed bool, err error) {
	m.looking.Lock()
	defer m.looking.Unlock()
	keys, err := m.fetch(ctx, url)
	var withdrawn []json.RawMessage
	if err == nil {
		withdrawn, err = m.note(ctx, url, keys, true)
	}
	m.mu.Lock()
	i, now := m.find(url), m.Now()
	if i == nil { // removed meanwhile
		m.mu.Unlock()
		return false, nil
	}
	i.err = err
	if err != nil {
		i.next = now.Add(retry)
		m.mu.Unlock()
		return false, err
	}
	changed = !same(i.Keys, keys) || !same(i.Withdrawn, withdrawn)
	i.Keys, i.Withdrawn, i.seen, i.next = keys, withdrawn, now, now.Add(lookEvery)
	m.mu.Unlock()
	if changed && m.Changed != nil {
		m.Changed()
	}
	return changed, nil
}

func same(a, b []json.RawMessage) bool {
	return slices.EqualFunc(a, b, func(x, y json.RawMessage) bool { return string(x) == string(y) })
}

// note stores the keys as seen, where the provider has just shown them, and returns those that it withdrew.
func (m *Mirror) note(ctx context.Context, url string, keys []json.RawMessage, now bool) ([]json.RawMessage, error) {
	published := map[string]json.RawMessage{}
	for _, k := range keys {
		id, _, err := token.KeyID(k)
		if err != nil {
			return nil, err // fetch left such keys out
		}
		published[id] = k
	}
	since := m.Now().Add(-m.Lifetime - time.Hour)
	var withdrawn []json.RawMessage
	err := m.Store.Tx(ctx, func(q *store.Queries) (err error) {
		if !now {
			withdrawn, err = q.WithdrawnIssuerKeys(ctx, url, published, since)
			return err
		}
		withdrawn, err = q.SawIssuerKeys(ctx, url, published, since)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("note the keys of %s: %w", url, err)
	}
	return withdrawn, nil
}

var errNoKeys = errors.New("it publishes no key that can verify a token (RS256, PS256, ES256, ES384 or EdDSA; RSA of 2048 bits or more)")
