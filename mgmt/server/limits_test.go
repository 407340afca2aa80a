package server

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/proof"
)

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// What somebody sends as a name is counted, never kept.
func TestLongNamesFillNoMemory(t *testing.T) {
	b := bucket{burst: 1, refill: time.Hour}
	now := time.Now()
	before := heap()
	for i := range 300 {
		if b.wait(strings.Repeat("x", maxBody)+fmt.Sprint(i), now) != 0 {
			t.Fatal("names are taken for one another")
		}
	}
	if grown := int64(heap()) - int64(before); grown > 16<<20 {
		t.Errorf("300 names take %d MB", grown>>20)
	}
	if b.wait(strings.Repeat("x", maxBody)+"7", now) == 0 {
		t.Error("a name is forgotten")
	}
}

func TestLimitsForgetWhatHasRunOut(t *testing.T) {
	b := bucket{burst: 1, refill: time.Second}
	now := time.Now()
	for i := range 10 * bucketKeys {
		b.wait(fmt.Sprint(i), now)
		now = now.Add(time.Millisecond)
	}
	if n := len(b.until); n > bucketKeys+1 {
		t.Errorf("%d keys are kept", n)
	}
}

// An address of a strange machine is worth as much as its network: one subscriber has 2^64 of them.
func TestStrangersOfOneNetworkShareTheirLimit(t *testing.T) {
	s, err := Open(t.Context(), Config{State: t.TempDir(), HTTP: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	body, _ := json.Marshal(api.LoginStart{Purpose: api.PurposeEnroll, Account: "ann"}) // not more: none begins
	push := func(from string) int {
		t.Helper()
		r := httptest.NewRequest("POST", api.RouteLogin, bytes.NewReader(body))
		r.RemoteAddr = from
		p, err := proof.Sign(key, proof.Params{Method: "POST", URL: s.URL() + api.RouteLogin, Body: body, Now: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(api.HeaderMachine, p)
		var refusal *api.Error
		if err := s.login(httptest.NewRecorder(), r); !errors.As(err, &refusal) {
			t.Fatal(err)
		}
		return refusal.Status
	}
	got := map[int]int{}
	for i := range 40 {
		got[push(fmt.Sprintf("[2001:db8::%x]:%d", i+1, i+1))]++
	}
	if got[http.StatusBadRequest] < 20 || got[http.StatusTooManyRequests] < 10 {
		t.Errorf("40 addresses of one network: %v", got)
	}
	if status := push("[2001:db8:0:1::1]:1"); status != http.StatusBadRequest {
		t.Errorf("another network: %d", status)
	}
}
