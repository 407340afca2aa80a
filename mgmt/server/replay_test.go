package server_test

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/client"
	"lanyard/mgmt/api/proof"
	"lanyard/mgmt/store"
	"lanyard/sshd/token"
)

// kept counts the proofs that the server remembers.
func (n *network) kept() (count int) {
	n.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(n.state, store.Database)+"?mode=ro&_pragma=busy_timeout(10000)")
	if err != nil {
		n.t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRowContext(n.t.Context(), `SELECT COUNT(*) FROM used`).Scan(&count); err != nil {
		n.t.Fatal(err)
	}
	return count
}

// signed is a request that can be sent again as it is.
func (m *machine) signed(route string, body []byte) func() error {
	m.t.Helper()
	raw, err := proof.Sign(m.Key, proof.Params{Method: "POST", URL: m.network.at(route), Body: body, Subject: m.Subject, Now: time.Now()})
	if err != nil {
		m.t.Fatal(err)
	}
	return func() error {
		req, _ := http.NewRequest("POST", m.network.at(route), bytes.NewReader(body))
		req.Header.Set(api.HeaderMachine, raw)
		return answer(http.DefaultClient.Do(req))(nil)
	}
}

// Who is nobody here leaves nothing in the database, however often they ask.
func TestProofsOfStrangersAreNotKept(t *testing.T) {
	n := start(t)
	n.user("ann@example.org")
	before := n.kept()
	key, salt, err := token.NewKey(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	nobody := client.Login{Key: key, Salt: salt, Bound: "a.b.c"}
	for range 3 {
		m := n.machine("stranger", false)
		_, err := n.api.Enroll(t.Context(), m.Machine, m.request)
		refused(t, err, http.StatusUnauthorized, "new here")
		m.request.SetupKey = "guessed"
		_, err = n.api.Enroll(t.Context(), m.Machine, m.request)
		refused(t, err, http.StatusForbidden, "setup key")
		refused(t, m.signed(api.RouteEnroll, []byte("{"))(), http.StatusBadRequest, "cannot be read")
		if _, err := n.api.Seen(t.Context(), nobody); err == nil {
			t.Fatal("a made-up token is taken")
		}
	}
	if kept := n.kept() - before; kept != 0 {
		t.Errorf("%d proofs are kept", kept)
	}

	// Whoever enrols their own machine is a stranger until they have signed in: so many are kept as may begin.
	m := n.machine("stranger", false)
	begun := 0
	for i := range 200 {
		err := m.signed(api.RouteLogin, fmt.Appendf(nil, `{"purpose":"enroll","account":"ann%d"}`, i))()
		var e *api.Error
		if !errors.As(err, &e) {
			t.Fatal(err)
		}
		if e.Status != http.StatusTooManyRequests {
			begun++
		}
	}
	if kept := n.kept() - before; kept != begun || begun > 150 {
		t.Errorf("%d of 200 went on, and %d are kept", begun, kept)
	}
}

// manyTimes sends one request many times at once, and wants it to count for one.
func manyTimes(t *testing.T, send func() error) {
	t.Helper()
	const times = 8
	answers := make([]error, times)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = send() })
	}
	all.Wait()
	good := 0
	for _, err := range answers {
		if err == nil {
			good++
		} else {
			refused(t, err, http.StatusUnauthorized, "sent before")
		}
	}
	if good != 1 {
		t.Errorf("%d of %d were taken", good, times)
	}
	refused(t, send(), http.StatusUnauthorized, "sent before")
}

func TestRequestSentManyTimesAtOnceCountsOnce(t *testing.T) {
	n := start(t)
	n.user("ann@example.org")
	m := n.machine("web", false)
	m.request.SetupKey = n.setupKey(map[string]any{"uses": 2})
	body, _ := json.Marshal(m.request)
	manyTimes(t, m.signed(api.RouteEnroll, body)) // new
	manyTimes(t, m.signed(api.RouteEnroll, body)) // again
	other := n.machine("db", false)
	other.request.SetupKey = m.request.SetupKey
	other.took(n.api.Enroll(t.Context(), other.Machine, other.request)) // the other use of the setup key is left

	laptop := n.enrolled("laptop", false)
	ann := laptop.login("ann@example.org")
	h, err := n.api.LoginProof(ann.Login, "POST", api.RouteSeen, nil)
	if err != nil {
		t.Fatal(err)
	}
	manyTimes(t, func() error {
		req, _ := http.NewRequest("POST", n.at(api.RouteSeen), nil)
		req.Header.Set("Authorization", h.Authorization)
		req.Header.Set(api.HeaderProof, h.Proof)
		return answer(http.DefaultClient.Do(req))(nil)
	})

	stranger := n.machine("ann's", false)
	s, err := stranger.push(api.PurposeEnroll)
	if err != nil {
		t.Fatal(err)
	}
	body, _ = json.Marshal(s.start)
	manyTimes(t, stranger.signed(api.RouteLogin, body))
}
