//go:build linux

package sessionbus

import (
	"errors"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"lanyard/platform/sessionbus/bustest"
)

func TestWithoutABusThereIsNone(t *testing.T) {
	for _, addr := range []string{"", "unix:path=/nowhere"} {
		t.Setenv("DBUS_SESSION_BUS_ADDRESS", addr)
		if c, err := Connect(); !errors.Is(err, ErrNone) {
			t.Errorf("%q: %v %v", addr, c, err)
		}
	}
}

func TestConnectionsArePrivate(t *testing.T) {
	addr, _ := bustest.Start(t)
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", addr)
	one, err := Connect()
	if err != nil {
		t.Fatal(err)
	}
	two, err := Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	if one.Names()[0] == two.Names()[0] {
		t.Error("two callers share a connection")
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	if !Has(two, "org.freedesktop.DBus") {
		t.Error("the end of one ended the other")
	}
}

func TestOwnersOfANameAreSeenComingAndGoing(t *testing.T) {
	addr, _ := bustest.Start(t)
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", addr)
	c, err := Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const name = "org.example.Panel"
	owners := make(chan string, 8)
	if err := Watch(c, name, func(owner string) { owners <- owner }); err != nil {
		t.Fatal(err)
	}
	if err := Watch(c, "org.example.Other", func(string) {}); err != nil { // its signals come by the same connection
		t.Fatal(err)
	}
	if Has(c, name) {
		t.Error("a name that nobody owns has an owner")
	}
	next := func() string {
		t.Helper()
		select {
		case o := <-owners:
			return o
		case <-time.After(time.Minute):
			t.Fatal("nothing was seen")
			return ""
		}
	}
	panel := bustest.Connect(t, addr)
	for _, n := range []string{"org.example.Other", name} { // the other is none of ours
		if got, err := panel.RequestName(n, dbus.NameFlagDoNotQueue); err != nil || got != dbus.RequestNameReplyPrimaryOwner {
			t.Fatal(got, err)
		}
	}
	if o := next(); o != panel.Names()[0] {
		t.Errorf("the owner is %q, want %q", o, panel.Names()[0])
	}
	if !Has(c, name) {
		t.Error("an owned name has no owner")
	}
	panel.Close()
	if o := next(); o != "" {
		t.Errorf("the name was left, and its owner is %q", o)
	}
}
