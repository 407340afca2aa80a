package control

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/store"
	"lanyard/test/calm"
)

// office is a Control on a database of its own, with a clock that the test sets.
type office struct {
	*Control
	t     *testing.T
	store *store.Store
	clock struct {
		sync.Mutex
		now time.Time
	}
}

var start = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, change ...func(*store.Settings)) *office {
	t.Helper()
	o := &office{t: t}
	o.clock.now = start
	var err error
	if o.store, err = store.Open(t.Context(), t.TempDir(), o.now); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.store.Close() })
	settings, err := o.store.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(&settings)
	}
	o.Control = New(Config{
		Store: o.store, Settings: settings, Now: o.now, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Issuers: func(context.Context) ([]api.Issuer, error) {
			return []api.Issuer{{URL: "https://id.example", ClientID: "lanyard"}}, nil
		},
	})
	t.Cleanup(func() { o.Close() })
	return o
}

func (o *office) now() time.Time {
	o.clock.Lock()
	defer o.clock.Unlock()
	return o.clock.now
}

func (o *office) later(d time.Duration) {
	o.clock.Lock()
	defer o.clock.Unlock()
	o.clock.now = o.clock.now.Add(d)
}

func (o *office) ok(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) peer(name string, last byte, tags ...string) store.Peer {
	o.t.Helper()
	key := make([]byte, 32)
	key[0] = last
	p := store.Peer{Peer: api.Peer{
		ID: "p" + name, Name: name, Addr4: netip.AddrFrom4([4]byte{100, 110, 0, last}), Addr6: netip.MustParseAddr("fd00::1"),
		WGKey: key, MachineKey: key, Tags: tags, ServesSSH: len(tags) > 0,
	}}
	o.ok(o.store.AddPeer(o.t.Context(), p))
	return p
}

func (o *office) person(sub string) store.User {
	o.t.Helper()
	u := store.User{UserRef: api.UserRef{Issuer: "https://id.example", Subject: sub}, Email: sub + "@example.com"}
	o.ok(o.store.AddUser(o.t.Context(), &u))
	return u
}

func (o *office) policy(name, from, to string, age time.Duration) {
	o.t.Helper()
	p := api.Policy{Name: name, From: []string{from}, To: []string{to}, As: []string{"deploy"}, Conditions: api.Conditions{MaxTokenAge: api.Secs(age)}}
	o.ok(o.store.PutPolicy(o.t.Context(), &p))
}

func (o *office) apply() api.Effect {
	o.t.Helper()
	e, err := o.Apply(o.t.Context())
	o.ok(err)
	return e
}

// mapOf is the newest map of a peer, whose signature is good.
func (o *office) mapOf(id string) *api.Map {
	o.t.Helper()
	stored, err := o.store.Map(o.t.Context(), id)
	o.ok(err)
	if !ed25519.Verify(o.Settings.Key().Public().(ed25519.PublicKey), api.MapMessage(stored.Signed.Map), stored.Signed.Sig) {
		o.t.Fatal("the map is not signed by the map key")
	}
	var m api.Map
	o.ok(json.Unmarshal(stored.Signed.Map, &m))
	return &m
}

func (o *office) follow(id string, have api.Have) *Conn {
	o.t.Helper()
	conn, err := o.Attach(o.t.Context(), id, have, netip.MustParseAddr("192.0.2.1"))
	o.ok(err)
	o.t.Cleanup(func() { o.Detach(conn) })
	return conn
}

func take(t *testing.T, conn *Conn) *api.Map {
	t.Helper()
	select {
	case <-conn.Ready():
	case <-time.After(2 * time.Minute):
		t.Fatal("no map came")
	}
	var m api.Map
	if err := json.Unmarshal(conn.Take().Map, &m); err != nil {
		t.Fatal(err)
	}
	return &m
}

func TestChangeReachesThoseItConcernsAndNobodyElse(t *testing.T) {
	o := open(t)
	o.AckWait = time.Minute // who answers does, however long this machine stands still in between
	o.peer("web", 2, "tag:web")
	o.peer("laptop", 4)
	u := o.person("ann")
	o.policy("web", "user:ann@example.com", "tag:web", 0)
	o.apply()
	conn := o.follow("pweb", api.Have{})
	m := take(t, conn)
	conn.Ack(api.Ack{Version: m.Version})
	u.Blocked = true
	o.ok(o.store.UpdateUser(t.Context(), u))
	go func() {
		<-conn.Ready()
		var m api.Map
		if json.Unmarshal(conn.Take().Map, &m) == nil {
			conn.Ack(api.Ack{Version: m.Version, Ended: []string{"s1"}})
		}
	}()
	e := o.apply()
	if !slices.Equal(e.Reached, []string{"web"}) || len(e.Unreached) != 0 || len(e.Ended) != 1 || e.Ended[0] != (api.EndedSession{Peer: "web", Session: "s1"}) {
		t.Errorf("%+v", e)
	}
	before := o.mapOf("pweb").Version
	o.ok(o.store.AddMember(t.Context(), "a-group-of-no-policy", u.ID))
	if e := o.apply(); len(e.Reached)+len(e.Unreached) != 0 || o.mapOf("pweb").Version != before {
		t.Errorf("a change that concerns nobody: %+v", e)
	}
	if m := o.mapOf("pweb"); len(m.Users) != 1 || !m.Users[0].Blocked {
		t.Errorf("web's map: %+v", m.Users)
	}
}

func TestWhoDoesNotAnswerIsNamed(t *testing.T) {
	o := open(t)
	o.peer("web", 2, "tag:web")
	o.peer("web2", 3, "tag:web")
	o.person("ann")
	o.apply()
	conn := o.follow("pweb", api.Have{}) // connected, and deaf
	take(t, conn)
	o.policy("web", "user:ann@example.com", "tag:web", 0)
	clock := calm.Start()
	e := o.apply()
	if took := clock.Stop(); !slices.Equal(e.Unreached, []string{"web", "web2"}) || len(e.Reached) != 0 || took > 2*time.Second {
		t.Errorf("%+v after %s", e, took)
	}
	// A version that was never sent is no acknowledgement.
	conn.Ack(api.Ack{Version: 1 << 40, Ended: []string{"s1"}})
	o.policy("more", "user:ann@example.com", "tag:web", time.Minute)
	if e := o.apply(); len(e.Reached) != 0 || len(e.Ended) != 0 {
		t.Errorf("%+v", e)
	}
}

func TestMapIsIssuedAnewBeforeItIsTooOld(t *testing.T) {
	o := open(t)
	o.peer("web", 2, "tag:web")
	o.apply()
	first := o.mapOf("pweb")
	o.later(o.Settings.MaxMapAge/4 - time.Second)
	o.apply()
	if m := o.mapOf("pweb"); m.Version != first.Version {
		t.Errorf("an unchanged map was made anew after %s", m.IssuedAt.Sub(first.IssuedAt))
	}
	o.later(2 * time.Second)
	o.apply()
	if m := o.mapOf("pweb"); m.Version <= first.Version || !m.IssuedAt.After(first.IssuedAt) {
		t.Errorf("version %d of %s, before %d of %s", m.Version, m.IssuedAt, first.Version, first.IssuedAt)
	}
}

// The database was restored from a backup, and nobody said so: a peer that saw more gets maps that it takes.
func TestPeerWithANewerMapRaisesTheClock(t *testing.T) {
	for name, c := range map[string]struct {
		have   api.Have
		raises bool
	}{
		"later version":    {api.Have{Epoch: 1, Version: 900}, true},
		"later epoch":      {api.Have{Epoch: 3, Version: 7}, true},
		"the end of time":  {api.Have{Epoch: 1, Version: 1 << 63}, false},
		"the last epoch":   {api.Have{Epoch: 1<<64 - 1, Version: 1}, false},
		"an older version": {api.Have{Epoch: 1, Version: 0}, false},
	} {
		t.Run(name, func(t *testing.T) {
			o := open(t)
			o.peer("web", 2, "tag:web")
			o.peer("db", 3, "tag:db")
			o.apply()
			m := take(t, o.follow("pweb", c.have))
			newer := m.Epoch > c.have.Epoch || m.Epoch == c.have.Epoch && m.Version > c.have.Version
			if c.raises && !newer {
				t.Errorf("it has %+v and gets epoch %d, version %d", c.have, m.Epoch, m.Version)
			}
			if !c.raises && (m.Epoch != 1 || m.Version > 10) {
				t.Errorf("the clock went to epoch %d, version %d", m.Epoch, m.Version)
			}
			// Everybody's next map is above it too.
			o.policy("db", "everyone", "tag:db", 0)
			o.apply()
			if db := o.mapOf("pdb"); c.raises && (db.Epoch < m.Epoch || db.Version <= c.have.Version) {
				t.Errorf("db is at epoch %d, version %d", db.Epoch, db.Version)
			}
		})
	}
}

func TestRestoredBeginsANewEpoch(t *testing.T) {
	o := open(t)
	o.peer("web", 2, "tag:web")
	o.apply()
	before := o.mapOf("pweb")
	o.ok(o.Restored(t.Context()))
	if m := o.mapOf("pweb"); m.Epoch <= before.Epoch {
		t.Errorf("epoch %d after %d", m.Epoch, before.Epoch)
	}
}

func (o *office) login(u store.User, key string, newest time.Time) store.Seen {
	o.t.Helper()
	seen, err := o.store.SawLogin(o.t.Context(), store.Login{Thumbprint: key, UserID: u.ID, Started: start, NewestToken: newest})
	o.ok(err)
	return seen
}

func silent(m *api.Map) []string {
	var out []string
	for _, s := range m.Silent {
		out = append(out, s.Key)
	}
	return out
}

// Each machine hears of a login's silence when its strictest rule wants it, and again when it reported.
func TestSilentLoginsAreWithdrawnAndComeBack(t *testing.T) {
	o := open(t)
	o.peer("web", 2, "tag:web")
	o.peer("db", 3, "tag:db")
	o.peer("laptop", 4)
	u := o.person("ann")
	o.policy("web", "everyone", "tag:web", 0) // an hour
	o.policy("db", "everyone", "tag:db", 5*time.Minute)
	o.login(u, "k1", start)
	expect := func(what string, web, db []string) {
		t.Helper()
		o.apply()
		if w, d := silent(o.mapOf("pweb")), silent(o.mapOf("pdb")); !slices.Equal(w, web) || !slices.Equal(d, db) {
			t.Errorf("%s: web %q, db %q", what, w, d)
		}
	}
	expect("at once", nil, nil)
	o.later(15 * time.Minute)
	expect("at the bound", nil, nil)
	o.later(time.Second)
	expect("past db's", nil, []string{"k1"})
	if m := o.mapOf("pdb"); !m.Silent[0].Since.Equal(start) || m.LoginGrace != 600 {
		t.Errorf("%+v, grace %d", m.Silent, m.LoginGrace)
	}
	o.later(55 * time.Minute)
	expect("past both", []string{"k1"}, []string{"k1"})
	if o.mapOf("plaptop").Silent != nil {
		t.Error("a machine without rules is told")
	}
	if s := o.login(u, "k1", start); s.Again || s.New {
		t.Errorf("the same old token: %+v", s)
	}
	expect("after a report without a younger token", []string{"k1"}, []string{"k1"})
	if s := o.login(u, "k1", o.now()); !s.Again {
		t.Errorf("a younger token: %+v", s)
	}
	expect("after a report", nil, nil)
}

// A machine tells of a login that never reported; it does not outlive the bound, and reporting helps it.
func TestLoginThatNeverReportedIsWithdrawn(t *testing.T) {
	o := open(t)
	o.peer("web", 2, "tag:web")
	u := o.person("ann")
	o.policy("web", "everyone", "tag:web", 0)
	o.ok(o.store.Unreported(t.Context(), "pweb", "k1", o.now()))
	o.later(50 * time.Minute)
	o.ok(o.store.Unreported(t.Context(), "pweb", "k1", o.now())) // another session does not begin it anew
	o.later(21 * time.Minute)
	o.apply()
	if got := silent(o.mapOf("pweb")); !slices.Equal(got, []string{"k1"}) {
		t.Errorf("%q", got)
	}
	if s := o.login(u, "k1", o.now()); !s.New || !s.Again {
		t.Errorf("%+v", s)
	}
	o.ok(o.store.Unreported(t.Context(), "pweb", "k1", start)) // what reports is not unreported
	o.apply()
	if got := silent(o.mapOf("pweb")); got != nil {
		t.Errorf("after a report: %q", got)
	}
}

// Nobody can report to a server that does not run: its start gives everybody time, but for those withdrawn before.
func TestStartOfTheServerIsNobodysSilence(t *testing.T) {
	o := open(t)
	o.peer("web", 2, "tag:web")
	u := o.person("ann")
	o.policy("web", "everyone", "tag:web", 0)
	o.login(u, "k1", start.Add(-3*time.Hour)) // before it began
	o.login(u, "k2", start.Add(-3*time.Hour))
	o.ok(o.store.FellSilent(t.Context(), "k2", start.Add(-3*time.Hour)))
	o.apply()
	if got := silent(o.mapOf("pweb")); !slices.Equal(got, []string{"k2"}) {
		t.Errorf("%q", got)
	}
	o.later(71 * time.Minute)
	o.apply()
	if got := silent(o.mapOf("pweb")); !slices.Equal(got, []string{"k1", "k2"}) {
		t.Errorf("later: %q", got)
	}
	o.ok(o.store.RevokeLogin(t.Context(), "k1", u.ID))
	o.apply()
	if m := o.mapOf("pweb"); !slices.Equal(silent(m), []string{"k2"}) || !slices.Equal(m.RevokedKeys, []string{"k1"}) {
		t.Errorf("an ended login is silent: %q, revoked %q", silent(m), m.RevokedKeys)
	}
}

// The clock was ahead by years for a while, also when the server started: once it is right, maps are issued anew at the
// next look, though nothing else changed, and whoever is silent is noticed.
func TestClockThatWasAheadLeavesNothingBehind(t *testing.T) {
	const years = 3 * 365 * 24 * time.Hour
	o := open(t)
	o.peer("web", 2, "tag:web")
	u := o.person("ann")
	o.policy("web", "everyone", "tag:web", 0)
	o.later(years)
	o.mu.Lock()
	o.began = o.now() // a start
	o.mu.Unlock()
	o.login(u, "k1", o.now())
	o.login(u, "k2", o.now())
	o.apply()
	ahead := o.mapOf("pweb")
	o.later(-years)
	o.login(u, "k1", o.now()) // goes on reporting
	o.apply()
	if m := o.mapOf("pweb"); m.Version <= ahead.Version || !m.IssuedAt.Equal(o.now()) {
		t.Errorf("the map in force is still that of %s", m.IssuedAt)
	}
	if got := silent(o.mapOf("pweb")); got != nil {
		t.Errorf("silent at once: %q", got)
	}
	o.later(50 * time.Minute)
	o.login(u, "k1", o.now())
	o.later(25 * time.Minute)
	o.apply()
	if got := silent(o.mapOf("pweb")); !slices.Equal(got, []string{"k2"}) {
		t.Errorf("silent are %q", got)
	}
	if s := o.login(u, "k2", o.now()); !s.Again {
		t.Errorf("a token of now: %+v", s)
	}
	o.apply()
	if got := silent(o.mapOf("pweb")); got != nil {
		t.Errorf("after a report: %q", got)
	}
	o.later(71 * time.Minute)
	o.apply()
	if got := silent(o.mapOf("pweb")); !slices.Equal(got, []string{"k1", "k2"}) {
		t.Errorf("silent at last: %q", got)
	}
}

// A clock that was a few minutes ahead, under a server that has run for weeks, costs nobody their sessions once it is right.
func TestClockThatIsSetRightSilencesNobodyAtOnce(t *testing.T) {
	o := open(t)
	o.peer("web", 2, "tag:web")
	u := o.person("ann")
	o.policy("web", "everyone", "tag:web", 0)
	o.later(5 * time.Hour)
	ahead := o.now().Add(10 * time.Minute)
	o.login(u, "k1", ahead)
	o.ok(o.store.Unreported(t.Context(), "pweb", "k2", ahead))
	o.apply()
	if got := silent(o.mapOf("pweb")); got != nil {
		t.Errorf("silent at once: %q", got)
	}
	o.later(69 * time.Minute)
	o.apply()
	if got := silent(o.mapOf("pweb")); got != nil {
		t.Errorf("too early: %q", got)
	}
	o.later(2 * time.Minute) // 71 since the clock is right, fewer since those tokens
	o.apply()
	if got := silent(o.mapOf("pweb")); !slices.Equal(got, []string{"k1", "k2"}) {
		t.Errorf("silent are %q", got)
	}
}

// The background notices by itself when a login has been silent for too long: nobody has to ask.
func TestSilenceIsNoticedInTime(t *testing.T) {
	o := open(t, func(s *store.Settings) { s.LoginGrace = time.Second })
	o.peer("web", 2, "tag:web")
	u := o.person("ann")
	o.policy("web", "everyone", "tag:web", time.Minute)
	conn := o.follow("pweb", api.Have{})
	take(t, conn)
	o.login(u, "k1", start)
	o.Touch()
	deadline := time.Now().Add(2 * time.Minute)
	for { // until it knows when
		o.mu.Lock()
		due := o.due
		o.mu.Unlock()
		if !due.IsZero() {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it does not know when the login will be silent")
		}
		time.Sleep(5 * time.Millisecond)
	}
	o.mu.Lock()
	due := o.due
	o.mu.Unlock()
	if want := start.Add(61 * time.Second); !due.Equal(want) {
		t.Errorf("due at %s, want %s", due, want)
	}
	o.later(60*time.Second + 900*time.Millisecond)
	if wait := o.untilLook(); wait > 200*time.Millisecond {
		t.Errorf("it looks again in %s", wait)
	}
	o.later(time.Second)
	o.Touch() // the timer runs on the real clock
	if got := silent(take(t, conn)); !slices.Equal(got, []string{"k1"}) {
		t.Errorf("%q", got)
	}
}

func TestConnectionThatIsReplacedEnds(t *testing.T) {
	o := open(t)
	o.peer("web", 2, "tag:web")
	one := o.follow("pweb", api.Have{})
	two := o.follow("pweb", api.Have{})
	select {
	case s, ok := <-one.Gone():
		if ok {
			t.Errorf("it is told %q", s)
		}
	case <-time.After(2 * time.Minute):
		t.Error("the old connection goes on")
	}
	o.Detach(one) // late, and not the other's end
	if !o.Online("pweb") {
		t.Error("the new connection is forgotten")
	}
	o.Control.Gone("pweb", "removed")
	if s := <-two.Gone(); s != "removed" || o.Online("pweb") {
		t.Errorf("%q", s)
	}
}

// A machine that comes first after a start of the server, or with a newer map than the server knows, has maps compiled.
// A change that is stored and not yet in force must not be put in force by that: its own answer would not tell of it.
func TestFirstMachineAfterAStartLeavesAChangeToItsOwnAnswer(t *testing.T) {
	for name, have := range map[string]api.Have{"the first one": {}, "one with a newer map": {Epoch: uint64(start.Unix()), Version: 99}} {
		t.Run(name, func(t *testing.T) {
			o := open(t)
			web := o.peer("web-1", 1, "tag:web")
			other := o.peer("laptop", 2)
			ann := o.person("ann")
			o.policy("web", "user:"+ann.Email, "tag:web", time.Hour)
			if have.Version > 0 { // something is compiled already, and no change is under way
				o.apply()
			}
			done := o.Change()
			ann.Blocked = true
			o.ok(o.store.UpdateUser(t.Context(), ann))
			attached := make(chan struct{})
			go func() {
				defer close(attached)
				conn, err := o.Attach(t.Context(), other.ID, have, netip.MustParseAddr("192.0.2.2"))
				if err != nil {
					t.Error(err)
					return
				}
				o.Detach(conn)
			}()
			// It waits: several times as long as a compilation takes.
			select {
			case <-attached:
				t.Error("it did not wait for the change")
			case <-time.After(5 * settle):
			}
			if effect := o.apply(); !slices.Contains(effect.Unreached, web.Name) {
				t.Errorf("the change's answer names nobody: %+v", effect)
			}
			done()
			select {
			case <-attached:
			case <-time.After(2 * time.Minute):
				t.Fatal("it waits for ever")
			}
		})
	}
}

// The machine that waited for a change's compilation is one that the change's answer waits for.
func TestChangeHearsOfTheMachineThatWaitedForIt(t *testing.T) {
	o := open(t)
	o.AckWait = time.Minute
	web := o.peer("web-1", 1, "tag:web")
	ann := o.person("ann")
	o.policy("web", "user:"+ann.Email, "tag:web", time.Hour)
	done := o.Change()
	ann.Blocked = true
	o.ok(o.store.UpdateUser(t.Context(), ann))
	told := make(chan struct{})
	go func() {
		defer close(told)
		conn, err := o.Attach(t.Context(), web.ID, api.Have{}, netip.MustParseAddr("192.0.2.1"))
		if err != nil {
			t.Error(err)
			return
		}
		conn.Ack(api.Ack{Version: take(t, conn).Version})
	}()
	for end := time.Now().Add(2 * time.Minute); !o.Online(web.ID); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not attach")
		}
	}
	if effect := o.apply(); !slices.Equal(effect.Reached, []string{web.Name}) {
		t.Errorf("the change's answer: %+v", effect)
	}
	done()
	<-told
}
