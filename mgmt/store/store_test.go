package store

import (
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/dexidp/dex/storage"
	"github.com/dexidp/dex/storage/conformance"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
)

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.Context(), t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestDexConformance(t *testing.T) {
	waiting := func(busy time.Duration) func(*testing.T) storage.Storage {
		return func(t *testing.T) storage.Storage {
			s, err := openWaiting(t.Context(), t.TempDir(), time.Now, busy)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			return s.Dex()
		}
	}
	conformance.RunTests(t, func(t *testing.T) storage.Storage { return open(t).Dex() })
	// These change a row within a change of the same row: one of the two must fail, once it has waited.
	conformance.RunTransactionTests(t, waiting(50*time.Millisecond))
	// A hundred changes at once each wait for the disk of those before.
	conformance.RunConcurrencyTests(t, waiting(5*time.Minute))
}

func TestNewerDatabaseIsRefused(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	db, err := sql.Open("sqlite", filepath.Join(dir, "mgmt.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`PRAGMA user_version = 9999`); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err := Open(t.Context(), dir, time.Now); !errors.Is(err, api.ErrFormat) {
		t.Fatalf("opening a newer database: %v, want %v", err, api.ErrFormat)
	}
	// The refusal has let go of the folder.
	if _, err := lockFile(filepath.Join(dir, "lock")); err != nil {
		t.Fatal(err)
	}
}

// What a database of before did not keep is told by its audit log, where somebody's sign-in stands and no machine's word.
func TestSignInsAndBlocksOfBeforeAreKnown(t *testing.T) {
	dir, at := t.TempDir(), time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	db, err := sql.Open("sqlite", filepath.Join(dir, "mgmt.db"))
	if err != nil {
		t.Fatal(err)
	}
	do := func(query string, args ...any) {
		t.Helper()
		if _, err := db.Exec(query, args...); err != nil {
			t.Fatal(err)
		}
	}
	const before = 5
	for _, m := range migrations[:before] {
		do(m)
	}
	do(fmt.Sprintf(`PRAGMA user_version = %d`, before))
	const issuer = "https://id.example"
	for _, who := range []string{"ann", "bob", "carol"} {
		do(`INSERT INTO users(id, issuer, subject, email, blocked, not_before, created) VALUES(?,?,?,?,?,?,1)`, who, issuer, who, who, who == "bob", ms(at))
	}
	login := func(id, who, peer string, after time.Duration) {
		do(`INSERT INTO audit(id, time, type, peer, body) VALUES(?,?,'login',?,?)`, id, ms(at.Add(after)), peer, text(audit.Event{Issuer: issuer, Subject: who}))
	}
	login("1", "ann", "", time.Hour)
	login("2", "ann", "", 2*time.Hour)
	login("3", "bob", "", time.Hour)
	login("4", "carol", "pweb", time.Hour)
	login("5", "nobody", "", time.Hour)
	do(`INSERT INTO audit(id, time, type, peer, body) VALUES('6', 1, 'login', '', 'spoilt')`)
	db.Close()
	s, err := Open(t.Context(), dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	users, err := s.Users(t.Context())
	if err != nil || len(users) != 3 {
		t.Fatalf("%d people, %v", len(users), err)
	}
	for i, want := range []User{{SignedIn: at.Add(2 * time.Hour)}, {SignedIn: at.Add(time.Hour), BlockedSince: at}, {}} {
		if u := users[i]; !u.SignedIn.Equal(want.SignedIn) || !u.BlockedSince.Equal(want.BlockedSince) {
			t.Errorf("%s signed in at %s, is blocked since %s; want %s, %s", u.ID, u.SignedIn, u.BlockedSince, want.SignedIn, want.BlockedSince)
		}
	}
}

func TestStateFolderIsForItsOwner(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no mode bits")
	}
	dir := filepath.Join(t.TempDir(), "state")
	s, err := Open(t.Context(), dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "mgmt.db"): 0o600, filepath.Join(dir, "mgmt.db-wal"): 0o600} {
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := fi.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", path, got, want)
		}
	}
}

func TestSecondProcessIsTold(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := Open(t.Context(), dir, time.Now); !errors.Is(err, ErrLocked) {
		t.Fatalf("second open: %v, want ErrLocked", err)
	}
}

func TestFailedChangeLeavesNoAuditLine(t *testing.T) {
	s := open(t)
	ctx := t.Context()
	boom := errors.New("boom")
	err := s.Change(ctx, &audit.Event{Type: audit.AdminChange}, func(q *Queries) error {
		if err := q.AddUser(ctx, &User{UserRef: api.UserRef{Issuer: "i", Subject: "s"}}); err != nil {
			t.Fatal(err)
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatal(err)
	}
	users, _ := s.Users(ctx)
	events, _ := s.Audit(ctx, 0, 10)
	if len(users) != 0 || len(events) != 0 {
		t.Fatalf("after a failed change: %d users, %d events", len(users), len(events))
	}
}

func TestAuditEventIsStoredOnce(t *testing.T) {
	s := open(t)
	ev := audit.Event{ID: api.NewEventID(time.Now()), Type: audit.SessionStart, Peer: "p1"}
	for range 3 {
		if err := s.AddAudit(t.Context(), &ev); err != nil {
			t.Fatal(err)
		}
	}
	events, err := s.Audit(t.Context(), 0, 10)
	if err != nil || len(events) != 1 || events[0].Peer != "p1" {
		t.Fatalf("got %v, %v", events, err)
	}
}

func TestProofIsUsedOnce(t *testing.T) {
	s := open(t)
	for i, want := range []bool{true, false} {
		if ok, err := s.UseOnce(t.Context(), "x", time.Now().Add(time.Minute)); err != nil || ok != want {
			t.Fatalf("use %d: %v, %v", i, ok, err)
		}
	}
}

func TestLimitedSetupKeyRunsOut(t *testing.T) {
	s := open(t)
	ctx := t.Context()
	for uses, want := range map[int]int{1: 1, 3: 3, -1: 5} {
		k := SetupKey{UsesLeft: uses, Expires: time.Now().Add(time.Hour)}
		secret := api.NewID("lk_")
		if err := s.AddSetupKey(ctx, &k, secret); err != nil {
			t.Fatal(err)
		}
		n := 0
		for range 5 {
			found, err := s.SetupKey(ctx, secret)
			if err != nil {
				t.Fatal(err)
			}
			if s.UseSetupKey(ctx, found.ID) == nil {
				n++
			}
		}
		if n != want {
			t.Errorf("a key of %d uses was used %d times, want %d", uses, n, want)
		}
	}
}

func TestNameOfRemovedPeerRests(t *testing.T) {
	now := time.Now()
	s, err := Open(t.Context(), t.TempDir(), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := t.Context()
	key := sha256.Sum256([]byte("a"))
	other := sha256.Sum256([]byte("b"))
	st, err := s.Settings(ctx)
	if err != nil {
		t.Fatal(err)
	}
	p := Peer{Peer: api.Peer{ID: "p1", Name: "web-1", Addr4: st.Overlay4.Addr().Next(), Addr6: st.Overlay6.Addr().Next(), MachineKey: key[:], WGKey: key[:]}}
	if err := s.AddPeer(ctx, p); err != nil {
		t.Fatal(err)
	}
	if err := s.RemovePeer(ctx, "p1"); err != nil {
		t.Fatal(err)
	}
	check := func(key []byte, want bool) {
		t.Helper()
		if got, err := s.NameTaken(ctx, "web-1", key); err != nil || got != want {
			t.Fatalf("taken: %v, %v; want %v", got, err, want)
		}
	}
	check(key[:], false)
	check(other[:], true)
	now = now.Add(nameRest + time.Hour)
	check(other[:], false)
}

// Whoever makes a key may ask for it, as often as they like: it must not cost a look at every machine that there was.
func TestKeyOfARemovedPeerIsFoundByItsIndex(t *testing.T) {
	s, key := open(t), make([]byte, 32)
	var id, parent, unused int
	var plan string
	if err := s.db.QueryRowContext(t.Context(), "EXPLAIN QUERY PLAN "+wasPeer, key).Scan(&id, &parent, &unused, &plan); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(plan, "SEARCH peers") || !strings.Contains(plan, "INDEX peers_was") {
		t.Errorf("the database would %s", plan)
	}
	p := Peer{Peer: api.Peer{ID: "p1", Name: "web-1", MachineKey: key, WGKey: key}}
	if err := s.AddPeer(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{false, true} {
		if was, err := s.WasPeer(t.Context(), key); err != nil || was != want {
			t.Errorf("the machine was removed: %v, %v; want %v", was, err, want)
		}
		if err := s.RemovePeer(t.Context(), "p1"); err != nil && !want {
			t.Fatal(err)
		}
	}
}
