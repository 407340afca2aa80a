//go:build unix && !darwin

package sessionbus

import (
	"bufio"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestWithoutABusThereIsNone(t *testing.T) {
	for _, at := range []string{"", "unix:path=/nonexistent/bus"} {
		t.Setenv("DBUS_SESSION_BUS_ADDRESS", at)
		if c, err := Connect(); !errors.Is(err, ErrNone) {
			t.Errorf("%q: %v, %v", at, c, err)
		}
	}
}

func TestNamesOfTheBusAreSeenAndFollowed(t *testing.T) {
	daemon, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("needs dbus-daemon")
	}
	c := exec.CommandContext(t.Context(), daemon, "--session", "--nofork", "--print-address")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
	at, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", strings.TrimSpace(at))
	one, err := Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	two, err := Connect()
	if err != nil {
		t.Fatal(err)
	}
	const name = "com.example.Panel"
	owners := make(chan string, 4)
	if err := Watch(one, name, func(owner string) { owners <- owner }); err != nil {
		t.Fatal(err)
	}
	if Has(one, name) {
		t.Error("nobody owns the name yet")
	}
	if _, err := two.RequestName(name, 0); err != nil {
		t.Fatal(err)
	}
	if !Has(one, name) {
		t.Error("the name's owner is not seen")
	}
	for _, gone := range []bool{false, true} {
		if gone {
			two.Close()
		}
		select {
		case owner := <-owners:
			if (owner == "") != gone {
				t.Errorf("the owner is %q, gone: %v", owner, gone)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("no change is told")
		}
	}
}
