package store

import (
	"crypto/sha256"
	"slices"
	"testing"
	"time"

	"lanyard/mgmt/api"
)

// A provider that refreshes a lost machine's token makes it as young as that of a new sign-in: its key is refused long
// after any sign-in would have ended, and so is one that somebody notes while the machine is removed.
func TestKeyOfALostMachineStaysRefused(t *testing.T) {
	now := time.Now()
	s, err := Open(t.Context(), t.TempDir(), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	st, err := s.Settings(ctx)
	must(err)
	peers := make([]Peer, 2)
	addr4, addr6 := st.Overlay4.Addr(), st.Overlay6.Addr()
	for i, name := range []string{"lost", "kept"} {
		addr4, addr6 = addr4.Next(), addr6.Next()
		key := sha256.Sum256([]byte(name))
		peers[i] = Peer{Peer: api.Peer{ID: name, Name: name, Addr4: addr4, Addr6: addr6, MachineKey: key[:], WGKey: key[:]}}
		must(s.AddPeer(ctx, peers[i]))
		must(s.AddOrigin(ctx, Origin{Thumbprint: "key-" + name, Nonce: "nonce-" + name, PeerID: name}))
	}
	// Of the owner's sign-ins, the one that nobody placed ends too; the one that lies elsewhere does not.
	ann := User{UserRef: api.UserRef{Issuer: "i", Subject: "ann"}, Email: "ann@example.com"}
	must(s.AddUser(ctx, &ann))
	peers[0].OwnerID = ann.ID
	for _, key := range []string{"key-anywhere", "key-kept"} {
		_, err := s.SawLogin(ctx, Login{Thumbprint: key, UserID: ann.ID, Started: now, NewestToken: now})
		must(err)
	}
	must(s.Tx(ctx, func(q *Queries) error {
		ended, err := q.RevokeLoginsOf(ctx, peers[0])
		if err != nil {
			return err
		}
		if len(ended) != 1 || ended[0].Thumbprint != "key-anywhere" || ended[0].User != ann.Email {
			t.Errorf("ended are %+v", ended)
		}
		return q.RemovePeer(ctx, "lost")
	}))
	must(s.AddOrigin(ctx, Origin{Thumbprint: "key-late", Nonce: "nonce-late", PeerID: "lost"}))
	const life = 24 * time.Hour
	refused := func(passed time.Duration, want ...string) {
		t.Helper()
		must(s.Sweep(ctx, life, passed))
		got, err := s.RevokedKeys(ctx, now.Add(-life-time.Hour))
		must(err)
		if !slices.Equal(got, want) {
			t.Errorf("refused are %q, want %q", got, want)
		}
		for nonce, want := range map[string]bool{"nonce-lost": len(want) > 0, "nonce-late": len(want) > 0, "nonce-kept": false} {
			if lost, err := s.Lost(ctx, nonce); err != nil || lost != want {
				t.Errorf("%s is lost: %v, %v", nonce, lost, err)
			}
		}
	}
	refused(0, "key-anywhere", "key-late", "key-lost")
	// A clock that is wrong for a while, by years, has nothing forgotten that was ended.
	right := now
	for _, wrong := range []time.Duration{3 * lostRests, -3 * lostRests, 20 * lostRests} {
		now = now.Add(wrong)
		for range 6 {
			must(s.Sweep(ctx, life, 10*time.Minute))
		}
		now = right
		refused(10*time.Minute, "key-anywhere", "key-late", "key-lost")
	}
	now = now.Add(30 * life)
	refused(30*life, "key-late", "key-lost")
	var left int
	if err := s.q.QueryRowContext(ctx, `SELECT COUNT(*) FROM origins`).Scan(&left); err != nil || left != 2 {
		t.Errorf("of sign-ins that are over %d are kept, %v; want those of the lost machine", left, err)
	}
	now = now.Add(lostRests)
	refused(lostRests)
}
