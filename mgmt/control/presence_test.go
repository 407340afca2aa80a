package control

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lanyard/mgmt/api"
)

// listener takes what a follower is told, as the server's writer does, and keeps it.
type listener struct {
	*Conn
	o *office

	mu       sync.Mutex
	messages int
	bytes    int
	online   map[string]bool // by peer id: the last word
}

// listen takes what comes on conn until it ends or o closes. A map is taken before a word that waits for it.
func (o *office) listen(conn *Conn) *listener {
	l := &listener{Conn: conn, o: o, online: map[string]bool{}}
	ctx := o.t.Context()
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-conn.Gone():
				return
			case <-conn.Ready():
				conn.Take()
			case <-conn.Moved():
				l.note(conn.TakePresence())
			}
		}
	}()
	return l
}

func (l *listener) note(p *api.Presence) {
	if p == nil {
		return
	}
	b, err := json.Marshal(api.Down{Presence: p})
	if err != nil {
		l.o.t.Error(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.messages++
	l.bytes += len(b)
	for _, id := range p.Online {
		l.online[id] = true
	}
	for _, id := range p.Offline {
		l.online[id] = false
	}
}

// says waits for d and checks what l was told by then: "online", "offline" or "" of a peer, by how many messages.
func (l *listener) says(d time.Duration, messages int, of map[string]string) {
	l.o.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.messages != messages {
		l.o.t.Errorf("%s: %d messages, want %d", l.peerID, l.messages, messages)
	}
	for id, want := range of {
		got := ""
		if is, ok := l.online[id]; ok {
			got = map[bool]string{true: "online", false: "offline"}[is]
		}
		if got != want {
			l.o.t.Errorf("%s hears of %s that it is %q, want %q", l.peerID, id, got, want)
		}
	}
}

// inTime runs f on an office with two machines that laptop may reach and one that it may not, in time that passes only
// when nothing else happens.
func inTime(t *testing.T, f func(*testing.T, *office)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := open(t)
		o.peer("web", 2, "tag:web")
		o.peer("db", 3, "tag:web")
		o.peer("laptop", 4, "tag:desk")
		o.peer("laptop2", 6, "tag:desk")
		o.peer("other", 5, "tag:other")
		o.policy("web", "tag:desk/ann", "tag:web", 0)
		o.apply()
		if m := o.mapOf("plaptop"); len(m.Peers) != 2 {
			t.Fatalf("laptop's map: %+v", m.Peers)
		}
		f(t, o)
	})
}

func TestFollowerHearsWhoOfItsMapComesAndGoes(t *testing.T) {
	inTime(t, func(t *testing.T, o *office) {
		web := o.follow("pweb", api.Have{})
		l := o.listen(o.follow("plaptop", api.Have{}))
		// A server that has just started knows nothing of those who did not come yet.
		l.says(0, 1, map[string]string{"pweb": "online", "pdb": ""})
		o.follow("pother", api.Have{})
		l.says(comeBack-blink, 1, map[string]string{"pother": ""})
		l.says(blink+tellEvery, 2, map[string]string{"pdb": "offline"})
		db := o.follow("pdb", api.Have{})
		l.says(settle, 3, map[string]string{"pdb": "online", "pweb": "online"})
		o.Detach(web)
		o.Detach(db)
		l.says(blink-time.Millisecond, 3, nil)
		l.says(tellEvery+time.Millisecond, 4, map[string]string{"pdb": "offline", "pweb": "offline", "pother": ""})
		// Whoever comes later hears it all at once, and after the map also with an unchanged one.
		m := o.mapOf("plaptop")
		o.listen(o.follow("plaptop", api.Have{Epoch: m.Epoch, Version: m.Version})).says(0, 1, map[string]string{"pdb": "offline", "pweb": "offline"})
	})
}

// Before everybody had the time to come back after a restart, a machine that was here and went is known to be away.
func TestWhoCameAndWentIsAwayAlsoSoonAfterAStart(t *testing.T) {
	inTime(t, func(t *testing.T, o *office) {
		l := o.listen(o.follow("plaptop", api.Have{}))
		web := o.follow("pweb", api.Have{})
		l.says(tellEvery, 1, map[string]string{"pweb": "online"})
		o.Detach(web)
		l.says(blink+tellEvery, 2, map[string]string{"pweb": "offline", "pdb": ""})
	})
}

func TestShortReconnectIsNotTold(t *testing.T) {
	inTime(t, func(t *testing.T, o *office) {
		web := o.follow("pweb", api.Have{})
		l := o.listen(o.follow("plaptop", api.Have{}))
		l.says(comeBack+tellEvery, 2, map[string]string{"pweb": "online"})
		for range 20 {
			o.Detach(web)
			time.Sleep(blink - time.Millisecond)
			// Also to who comes now, it is there.
			o.listen(o.follow("plaptop2", api.Have{})).says(0, 1, map[string]string{"pweb": "online"})
			web = o.follow("pweb", api.Have{})
			l.says(blink, 2, map[string]string{"pweb": "online"})
		}
		web = o.follow("pweb", api.Have{}) // in the place of the old connection, before that ended
		l.says(blink+tellEvery, 2, nil)
		// One that comes and goes all the time is told of once a second, at most.
		begin := time.Now()
		for time.Since(begin) < time.Minute {
			o.Detach(web)
			time.Sleep(blink + time.Millisecond)
			web = o.follow("pweb", api.Have{})
			time.Sleep(time.Millisecond)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if most := 2 + int(time.Since(begin)/tellEvery); l.messages > most {
			t.Errorf("%d messages, want %d at most", l.messages, most)
		}
	})
}

func TestWordWaitsForTheMapAndGoesWithIt(t *testing.T) {
	inTime(t, func(t *testing.T, o *office) {
		other, db := o.follow("pother", api.Have{}), o.follow("pdb", api.Have{})
		conn := o.follow("plaptop", api.Have{})
		time.Sleep(tellEvery)
		if p := conn.TakePresence(); p != nil {
			t.Errorf("before any map: %+v", p)
		}
		conn.Take()
		if p := conn.TakePresence(); p == nil || !slices.Equal(p.Online, []string{"pdb"}) || p.Offline != nil {
			t.Errorf("after the map: %+v", p)
		}
		o.policy("more", "tag:desk/ann", "tag:other", 0)
		o.apply()
		time.Sleep(2 * tellEvery)
		if p := conn.TakePresence(); p != nil {
			t.Errorf("before the map that shows it: %+v", p)
		}
		conn.Take()
		select {
		case <-conn.Moved():
		default:
			t.Error("the map that it waited for does not wake it")
		}
		if p := conn.TakePresence(); p == nil || !slices.Equal(p.Online, []string{"pother"}) || p.Offline != nil {
			t.Errorf("of a machine that the map shows now: %+v", p)
		}
		// What nobody took yet of a machine that leaves the map is not told.
		o.Detach(other)
		o.Detach(db)
		time.Sleep(blink + 2*tellEvery)
		o.ok(o.store.RemovePolicy(t.Context(), "more"))
		o.apply()
		conn.Take()
		if p := conn.TakePresence(); p == nil || !slices.Equal(p.Offline, []string{"pdb"}) || p.Online != nil {
			t.Errorf("of a machine that left the map: %+v", p)
		}
	})
}

// After a restart of the server all machines come back, each of which the map shows to all others. How many messages each
// gets is a matter of time, not of their number (a thousand get 13,000 in all, of together 20 MB, and not a million).
func TestMachinesThatComeBackMakeFewMessages(t *testing.T) {
	const machines = 300
	const within = 22 * time.Second // as service/netmap spreads them
	synctest.Test(t, func(t *testing.T) {
		o := open(t)
		defer o.Change()() // nothing is compiled: there are no maps to the connections
		ids := make([]string, machines)
		for i := range ids {
			ids[i] = fmt.Sprintf("p%016d", i)
		}
		o.mu.Lock()
		for _, id := range ids {
			o.shown[id] = ids
		}
		o.mu.Unlock()
		dice := rand.New(rand.NewPCG(1, 2))
		var all []*listener
		var mu sync.Mutex
		for _, id := range ids[1:] { // the first does not come
			time.AfterFunc(time.Duration(dice.Int64N(int64(within))), func() {
				conn := newConn(o.Control, id)
				o.mu.Lock()
				o.observed[id] = netip.Addr{}
				o.enter(conn)
				conn.sent, conn.due, conn.news = 1, true, o.shownTo(id)
				signal(conn.moved)
				o.mu.Unlock()
				mu.Lock()
				defer mu.Unlock()
				all = append(all, o.listen(conn))
			})
		}
		begin := time.Now()
		time.Sleep(comeBack + 2*tellEvery)
		synctest.Wait()
		messages, bytes, most := 0, 0, 0
		for _, l := range all {
			messages, bytes, most = messages+l.messages, bytes+l.bytes, max(most, l.messages)
			for _, id := range ids {
				if is, ok := l.online[id]; !ok || is != (id != ids[0]) {
					t.Fatalf("%s hears of %s: %v, %v", l.peerID, id, is, ok)
				}
			}
		}
		if bound := 1 + int(time.Since(begin)/tellEvery); len(all) != machines-1 || most > bound {
			t.Errorf("%d followers; one got %d messages, want %d at most", len(all), most, bound)
		}
		t.Logf("%d machines: %d messages, %d at most to one, %.1f MB", len(all)+1, messages, most, float64(bytes)/1e6)
	})
}
